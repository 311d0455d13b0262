//! Makes hostile input out of sound input, from one seed: bytes that are
//! flipped, cut, repeated and spliced, and JSON whose values have other types,
//! sizes and depths.

use serde_json::{Map, Value as Json};

/// The generator `SplitMix64`.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.number() % limit.max(1) as u64).expect("it is below a usize")
    }

    /// A number of up to so many bits, small ones as often as large ones.
    pub(crate) fn up_to(&mut self, bits: usize) -> usize {
        let bits = self.below(bits);
        self.below(1 << bits)
    }

    pub(crate) fn one_of<'t, T: ?Sized>(&mut self, all: &[&'t T]) -> &'t T {
        all[self.below(all.len())]
    }

    pub(crate) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

/// Text that parsers stumble over.
pub(crate) fn text(random: &mut Random) -> String {
    let fixed: [&str; 18] = [
        "",
        " ",
        "\0",
        "\u{202e}gnp.exe",
        "a\u{301}",
        "\u{1b}[2J",
        "../../etc/passwd",
        "vault:",
        "vault:a/../b",
        "reader[\"eu\"].account",
        "reader[\"",
        "18446744073709551616",
        "-0",
        "1e999",
        "9999-99-99T99:99:99Z",
        "${${${x}}}",
        "🦀",
        "null",
    ];
    match random.below(12) {
        0 => "x".repeat(1 << random.below(18)),
        1 => "[".repeat(1 << random.below(14)),
        2 => "${a.".repeat(1 << random.below(10)),
        _ => random.one_of(&fixed).to_owned(),
    }
}

/// Bytes, changed in a few places.
pub(crate) fn bytes(random: &mut Random, sound: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = sound.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let length = random.up_to(9);
        let end = (at + length).min(bytes.len());
        match random.below(9) {
            0 | 1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 if at < bytes.len() => bytes[at] = u8::try_from(random.below(256)).unwrap_or(0),
            3 => drop(bytes.drain(at..end)),
            4 => bytes.truncate(at),
            5 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            6 => {
                let from = random.below(other.len() + 1);
                let piece = other[from..(from + length).min(other.len())].to_vec();
                bytes.splice(at..end, piece);
            }
            7 => drop(bytes.splice(at..end, text(random).into_bytes())),
            _ => drop(bytes.splice(at..at, std::iter::repeat_n(b'[', length * 8))),
        }
    }
    bytes
}

/// A JSON value, changed in a few places.
pub(crate) fn json(random: &mut Random, value: &mut Json) {
    for _ in 0..=random.below(3) {
        let depth = random.below(9);
        descend(random, value, depth);
    }
}

fn descend(random: &mut Random, at: &mut Json, depth: usize) {
    let inside = match at {
        _ if depth == 0 => None,
        Json::Array(list) if !list.is_empty() => {
            let index = random.below(list.len());
            list.get_mut(index)
        }
        Json::Object(map) if !map.is_empty() => {
            let index = random.below(map.len());
            map.values_mut().nth(index)
        }
        _ => None,
    };
    match inside {
        Some(inside) => descend(random, inside, depth - 1),
        None => change(random, at),
    }
}

fn change(random: &mut Random, at: &mut Json) {
    match (random.below(10), &mut *at) {
        (0, Json::Object(map)) if !map.is_empty() => {
            if let Some(name) = map.keys().nth(random.below(map.len())).cloned() {
                map.remove(&name);
            }
        }
        (1, Json::Object(map)) => {
            map.insert(text(random), Json::from(random.number()));
        }
        (2, Json::Object(map)) if map.len() > 1 => {
            let names: Vec<String> = map.keys().cloned().collect();
            let (one, two) = (&names[random.below(names.len())], &names[random.below(names.len())]);
            let moved = map[one].clone();
            map.insert(two.clone(), moved);
        }
        (0..=2, Json::Array(list)) if !list.is_empty() => {
            let index = random.below(list.len());
            match random.below(3) {
                0 => drop(list.remove(index)),
                1 => {
                    let again = list[index].clone();
                    list.push(again);
                }
                _ => list.reverse(),
            }
        }
        (0..=4, Json::String(string)) => {
            let changed = bytes(random, string.as_bytes(), b"account");
            *string = String::from_utf8_lossy(&changed).into_owned();
        }
        (0..=4, Json::Number(number)) => {
            let near = number.as_i64().unwrap_or_default();
            let numbers = [
                near.wrapping_add(1),
                near.wrapping_sub(1),
                near.wrapping_neg(),
                0,
                i64::MAX,
                i64::MIN,
                1 << 53,
                u32::MAX.into(),
            ];
            *at = Json::from(numbers[random.below(numbers.len())]);
        }
        (5, _) => {
            let mut deep = Json::Null;
            for _ in 0..random.below(120) {
                deep = if random.one_in(2) {
                    Json::Array(vec![deep])
                } else {
                    Json::Object(Map::from_iter([("a".to_owned(), deep)]))
                };
            }
            *at = deep;
        }
        (6, _) => *at = Json::from(text(random)),
        (7, _) => *at = Json::Null,
        (8, _) => *at = Json::from(i64::MIN),
        _ => *at = Json::from(random.one_in(2)),
    }
}

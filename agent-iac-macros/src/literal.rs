//! The forms that literals have: lengths of time, days, names and places.
//!
//! The core crate reads the same forms when a value is no literal; this crate
//! cannot depend on it, since it depends on this one.

/// A hundred years, the longest period.
const MAX_SECONDS: u64 = 100 * 366 * 86_400;

/// The longest name of an agent or a field, in bytes.
const MAX_NAME: usize = 63;

/// The seconds of `7d` and its like.
pub(crate) fn period(text: &str) -> Option<u64> {
    if !(2..=12).contains(&text.len()) {
        return None;
    }
    let (number, unit) = text.split_at_checked(text.len() - 1)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    // `parse` alone would take a sign.
    let digits = number.bytes().all(|b| b.is_ascii_digit());
    let seconds = number.parse::<u64>().ok().filter(|_| digits)?.checked_mul(unit)?;
    (seconds <= MAX_SECONDS).then_some(seconds)
}

/// Whether `text` of several words may be a schedule: the five fields of cron,
/// which a fleet's validation reads, or a number of uses.
pub(crate) fn is_schedule(text: &str) -> bool {
    match text.split_ascii_whitespace().collect::<Vec<_>>()[..] {
        [number, "use" | "uses"] => {
            let digits = number.bytes().all(|b| b.is_ascii_digit());
            digits && number.parse::<u64>().is_ok_and(|uses| uses > 0)
        }
        [_, _, _, _, _] => true,
        _ => false,
    }
}

/// Whether `text` is a day of the calendar, as `2027-06-30`.
pub(crate) fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else { return false };
    let number = |text: &str, length| {
        let digits = text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u32>().ok().filter(|_| digits)
    };
    let (Some(year), Some(month), Some(day)) = (number(year, 4), number(month, 2), number(day, 2))
    else {
        return false;
    };
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}

/// Whether `text` is an agent's name.
pub(crate) fn is_agent_name(text: &str) -> bool {
    text.len() <= MAX_NAME
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Whether `text` can be the last part of an address.
pub(crate) fn is_field_name(text: &str) -> bool {
    text.len() <= MAX_NAME
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// Whether `text` says a store and a path in it.
pub(crate) fn is_place(text: &str) -> bool {
    text.split_once(':').is_some_and(|(store, path)| !store.is_empty() && !path.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_of_several_words_is_cron_or_a_number_of_uses() {
        for text in ["0 3 * * mon", "  */5 1-3 * * 1,2 ", "1000 uses", "1 use"] {
            assert!(is_schedule(text), "{text}");
        }
        for text in ["7 days", "0 uses", "-1 uses", "+1 uses", "0 3 * *", "0 3 * * mon UTC"] {
            assert!(!is_schedule(text), "{text}");
        }
    }

    #[test]
    fn periods_are_a_number_and_a_unit() {
        for (text, seconds) in [
            ("7d", Some(604_800)),
            ("1w", Some(604_800)),
            ("0s", Some(0)),
            ("90m", Some(5_400)),
            ("1h", Some(3_600)),
            ("36600d", Some(MAX_SECONDS)),
            ("36601d", None),
            ("7", None),
            ("d", None),
            ("", None),
            ("7 d", None),
            ("+7d", None),
            ("-7d", None),
            ("7D", None),
            ("7é", None),
            ("99999999999w", None),
        ] {
            assert_eq!(period(text), seconds, "{text}");
        }
    }

    #[test]
    fn dates_are_days_of_the_calendar() {
        for (text, good) in [
            ("2027-06-30", true),
            ("2028-02-29", true),
            ("2000-02-29", true),
            ("2027-02-29", false),
            ("2100-02-29", false),
            ("2027-06-31", false),
            ("2027-13-01", false),
            ("2027-00-01", false),
            ("2027-01-00", false),
            ("27-06-30", false),
            ("2027-6-30", false),
            ("2027-06-30T00:00", false),
            ("+027-06-30", false),
            ("tomorrow", false),
        ] {
            assert_eq!(is_date(text), good, "{text}");
        }
    }

    #[test]
    fn names_and_places_have_their_forms() {
        assert!(is_agent_name("invoice-reader"));
        for name in ["", "Invoice", "9lives", "reader-", "a_b", &"a".repeat(64)] {
            assert!(!is_agent_name(name), "{name}");
        }
        assert!(is_field_name("_account2"));
        assert!(!is_field_name("Account"));
        assert!(is_place("vault:agents/x"));
        for place in ["vault", ":x", "vault:"] {
            assert!(!is_place(place), "{place}");
        }
    }
}

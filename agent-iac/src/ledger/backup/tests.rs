use std::{io, sync::Arc};

use super::{super::*, NewFile, *};
use crate::{
    address::Address,
    clock::{Clock, block_on},
    ledger::tests::{Still, adopt},
};

fn ledger(batches: u32) -> MemoryLedger {
    let clock = Still::at("2026-03-01T00:00:00Z");
    let ledger = MemoryLedger::opened(clock as Arc<dyn Clock>, "office", "test").unwrap();
    for turn in 0..batches {
        put(&ledger, &format!("agent-{turn}.account"));
    }
    ledger
}

fn put(ledger: &MemoryLedger, name: &str) {
    let address: Address = name.parse().unwrap();
    let entries = vec![adopt(&address, "quote \" and \u{2028} ü")];
    let append = Append { entries, expected: [(address, 0)].into(), ..Append::default() };
    block_on(ledger.append(append)).unwrap();
}

fn written(ledger: &dyn Ledger) -> (Backup, String) {
    let mut file = Vec::new();
    let backup = block_on(backup(ledger, &mut file)).unwrap();
    (backup, String::from_utf8(file).unwrap())
}

fn state(ledger: &dyn Ledger) -> State {
    block_on(ledger.state(&Query::Everything)).unwrap()
}

#[track_caller]
fn refused(file: &str, kind: ErrorKind, message: &str) {
    let error = check_backup(file.as_bytes(), "ledger.backup").unwrap_err();
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.message().contains(message), "`{message}` is missing in: {error}");
    assert!(error.repair().is_some(), "no repair is named: {error}");
}

#[test]
fn a_backup_is_canonical_lines_that_other_tools_can_check() {
    use sha2::Digest as _;

    let ledger = ledger(700);
    let (backup, file) = written(&ledger);
    let mut lines = file.lines();
    let hash = |value: &serde_json::Value| {
        let bytes = serde_json_canonicalizer::to_vec(value).unwrap();
        let sum: [u8; 32] = Sha256::digest(bytes).into();
        sum.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    };
    let parse = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let first = parse(lines.next().unwrap());
    assert_eq!(first["kind"], "agent-iac ledger");
    assert_eq!((&first["fleet"], &first["environment"]), (&"office".into(), &"test".into()));
    let mut previous = first["from"]["hash"].as_str().unwrap().to_owned();
    for line in lines {
        let batch = parse(line);
        assert_eq!(serde_json_canonicalizer::to_string(&batch).unwrap(), line);
        assert_eq!(batch["header"]["body"], hash(&batch["entries"]));
        assert_eq!(batch["header"]["previous"], previous);
        previous = hash(&batch["header"]);
    }
    assert_eq!(first["head"]["hash"], previous);
    assert_eq!((backup.batches, backup.bytes), (701, u64::try_from(file.len()).unwrap()));
    assert_eq!(backup.digest, Digest::of_bytes(file.as_bytes()));
    let (read, folded) = check_backup(file.as_bytes(), "ledger.backup").unwrap();
    assert_eq!((read, folded), (backup, state(&ledger)));
    assert_eq!(written(&ledger).1, file, "the same ledger gives the same bytes");
}

#[test]
fn what_was_done_to_a_backup_is_refused_with_its_line() {
    let (_, file) = written(&ledger(6));
    let lines: Vec<&str> = file.lines().collect();
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        change(&mut lines);
        lines.join("\n") + "\n"
    };
    let damaged = ErrorKind::Damaged;
    refused("", damaged, "`ledger.backup` is empty");
    refused("{}\n", damaged, "line 1 of `ledger.backup`");
    let edited = with(&|lines| lines[3] = lines[3].replace("agent-1", "agent-9"));
    refused(
        &edited,
        damaged,
        "line 4 of `ledger.backup`: batch 3 of the ledger holds other entries",
    );
    let edited = with(&|lines| lines[3] = lines[3].replace("2026-03", "2026-04"));
    refused(&edited, damaged, "line 5 of `ledger.backup`: batch 4 of the ledger does not follow");
    let spaced = with(&|lines| lines[3] = lines[3].replace(",\"previous\"", ", \"previous\""));
    refused(&spaced, damaged, "line 4 of `ledger.backup` has a header that is not canonical");
    refused(&with(&|lines| drop(lines.remove(4))), damaged, "line 5 of `ledger.backup`: batch 5");
    refused(&with(&|lines| lines.swap(4, 5)), damaged, "line 5 of `ledger.backup`: batch 5");
    let doubled = with(&|lines| lines.insert(4, lines[4].clone()));
    refused(&doubled, damaged, "line 6 of `ledger.backup`: batch 4 of the ledger stands where");
    let cut = with(&|lines| drop(lines.pop()));
    refused(&cut, damaged, "goes to batch 7 by its first line: its end is cut off");
    refused(&file[..file.len() - 1], damaged, "line 8 of `ledger.backup` does not end");
    refused(&file[..file.len() - 40], damaged, "line 8 of `ledger.backup` does not end");
    let more = with(&|lines| lines.push(lines[7].clone()));
    refused(&more, damaged, "line 9 of `ledger.backup` stands behind the head");
    let foreign = with(&|lines| lines[0] = lines[0].replace("office", "studio"));
    refused(&foreign, damaged, "line 1 of `ledger.backup` names another ledger");
    let shorter = with(&|lines| lines[0] = lines[0].replace("\"sequence\":7", "\"sequence\":6"));
    refused(&shorter, damaged, "its end is cut off or was changed");
    refused(&file.replace('\n', "\r\n"), damaged, "line 2 of `ledger.backup`");
    let newer = with(&|lines| lines[0] = lines[0].replace("\"format\":2", "\"format\":3"));
    refused(&newer, ErrorKind::NewerVersion, "in format 3, and this version reads up to 2");
    let bytes = [b"\xff\xfe\n".as_slice(), file.as_bytes()].concat();
    let error = check_backup(&bytes[..], "ledger.backup").unwrap_err();
    assert!(error.message().contains("line 1 of `ledger.backup` is no text"), "{error}");
}

#[test]
fn every_cut_and_every_flipped_byte_is_found() {
    let (backup, file) = written(&ledger(3));
    for end in 0..file.len() {
        assert!(check_backup(&file.as_bytes()[..end], "b").is_err(), "cut at {end}");
    }
    for at in 0..file.len() {
        let mut bytes = file.clone().into_bytes();
        bytes[at] ^= 1;
        let read = check_backup(&bytes[..], "b");
        assert!(read.is_err_and(|error| error.repair().is_some()), "{at} of {}", backup.bytes);
    }
}

/// A disk that is full after so many bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.0 {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.0 -= bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_told_wherever_it_is_met() {
    let ledger = ledger(5);
    let (whole, _) = written(&ledger);
    for room in 0..usize::try_from(whole.bytes).unwrap() {
        let error = block_on(backup(&ledger, &mut Full(room))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error:?}");
    }
}

#[test]
fn a_backup_appears_whole_beside_nothing_and_over_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.backup");
    let ledger = ledger(5);
    let backup = block_on(backup_into(&ledger, &path)).unwrap();
    let file = std::fs::read(&path).unwrap();
    assert_eq!(Digest::of_bytes(&file), backup.digest);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let error = block_on(backup_into(&ledger, &path)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.message().contains("is there already"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), file);
    // Another was faster after this one began.
    let late = folder.path().join("late.backup");
    let begun = NewFile::begin(&late).unwrap();
    std::fs::write(&late, "another").unwrap();
    assert_eq!(begun.place().unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(std::fs::read(&late).unwrap(), b"another");
    // One that is given up leaves nothing.
    drop(NewFile::begin(&folder.path().join("given-up")).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    let nowhere = block_on(backup_into(&ledger, &folder.path().join("no/such"))).unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::NotFound);
    let empty = MemoryLedger::new(Still::at("2026-03-01T00:00:00Z"));
    let error = block_on(backup_into(&empty, &folder.path().join("empty"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
}

fn ada() -> Actor {
    Actor::asserted("os", "ada")
}

#[test]
fn a_ledger_that_was_archived_goes_on_and_verifies_with_its_archives() {
    let ledger = ledger(700);
    let before = state(&ledger);
    let (first, one) = written(&ledger);
    let head = block_on(ledger.checkpoint(first.head, &ada())).unwrap();
    let after = state(&ledger);
    assert_eq!(after.records, before.records, "versions stay");
    assert_eq!(after.ledger, before.ledger);
    assert_eq!(after.begins, Some(Checkpoint { from: first.head, until: head.sequence }));
    assert_eq!(head.sequence, first.head.sequence + 4, "700 records in batches of 256");
    let again = block_on(ledger.checkpoint(head, &ada())).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Refused, "there is nothing to archive");
    put(&ledger, "another.account");
    assert_eq!(state(&ledger).version(&"another.account".parse().unwrap()), head.sequence + 1);
    let alone = block_on(verify(&ledger, None)).unwrap();
    assert_eq!((alone.batches, alone.begins), (5, after.begins));

    let (second, two) = written(&ledger);
    assert_eq!(second.from, first.head);
    block_on(ledger.checkpoint(second.head, &ada())).unwrap();
    put(&ledger, "last.account");
    let archives = |of: &[&'static str]| {
        let all = [("one", one.as_bytes()), ("two", two.as_bytes())];
        let chosen = of.iter().map(|name| *all.iter().find(|(n, _)| n == name).unwrap());
        chosen.map(|(name, bytes)| (name.to_owned(), bytes)).collect::<Vec<_>>()
    };
    let verified = block_on(verify_archived(&ledger, None, archives(&["one", "two"]))).unwrap();
    assert_eq!(verified.batches, 701 + 5 + 5);
    block_on(verify_archived(&ledger, None, archives(&["two"]))).unwrap();
    // A pin of any time is found where it is.
    let pin = |head| crate::vault::Pin { ledger: before.ledger.clone(), head };
    let in_the_first = {
        let mut reading = Reading::begin(one.as_bytes(), "one").unwrap();
        reading.fold().unwrap();
        reading.fold().unwrap().unwrap().1
    };
    for head in [in_the_first, first.head, second.head] {
        let pin = pin(head);
        block_on(verify_archived(&ledger, Some(&pin), archives(&["one", "two"]))).unwrap();
    }
    block_on(verify(&ledger, Some(&pin(second.head)))).unwrap();
    let error = block_on(verify(&ledger, Some(&pin(in_the_first)))).unwrap_err();
    assert!(error.message().contains("only its archive shows"), "{error}");
    // Each wrong set of archives is named.
    for (archives, found) in [
        (archives(&["one"]), "the archive `one` ends at batch 701"),
        (archives(&["two", "one"]), "the archive `two` ends at batch"),
        (vec![("x".to_owned(), &b"x\n"[..])], "line 1 of `x`"),
        (vec![("cut".to_owned(), &two.as_bytes()[..two.len() - 400])], "of `cut`"),
    ] {
        let error = block_on(verify_archived(&ledger, None, archives)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error:?}");
        assert!(error.message().contains(found), "`{found}` is missing in: {error}");
    }
    let clock = Still::at("2027-03-01T00:00:00Z") as Arc<dyn Clock>;
    let (_, foreign) = written(&MemoryLedger::opened(clock, "office", "test").unwrap());
    let swapped = vec![("foreign".to_owned(), foreign.as_bytes())];
    let error = block_on(verify_archived(&ledger, None, swapped)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Foreign, "{error:?}");
}

#[test]
fn an_archive_that_amounts_to_something_else_than_the_checkpoint_carries_is_named() {
    // Somebody makes a checkpoint by hand that carries one record less.
    let ledger = ledger(3);
    let (archive, bytes) = written(&ledger);
    let mut less = state(&ledger);
    less.records.pop_last();
    let forged = checkpoint::batches(&less, "2026-03-02T00:00:00Z".parse().unwrap(), &ada());
    let forged = Forged(forged.unwrap());
    block_on(verify(&forged, None)).unwrap();
    let archives = vec![("2025".to_owned(), bytes.as_bytes())];
    let error = block_on(verify_archived(&forged, None, archives)).unwrap_err();
    let found =
        "does not carry what the archive `2025` amounts to: the record of `agent-2.account`";
    assert!(error.message().contains(found), "{error}");
    assert_eq!(archive.head.sequence, 4);
}

/// A ledger of these batches.
struct Forged(Vec<Sealed>);

#[async_trait::async_trait]
impl Ledger for Forged {
    fn description(&self) -> String {
        String::from("forged")
    }

    async fn append(&self, _: Append) -> Result<Appended> {
        Err(Error::new(ErrorKind::Denied, "it is only read"))
    }

    async fn state(&self, query: &Query) -> Result<State> {
        let mut state = State::default();
        for sealed in &self.0 {
            state.absorb(&sealed.open()?)?;
        }
        Ok(state.restrict(query))
    }

    async fn batches(&self, from: u64, limit: usize) -> Result<Vec<Batch>> {
        let behind = self.0.iter().filter(|sealed| sealed.header.sequence >= from);
        behind.take(limit).map(Sealed::open).collect()
    }

    async fn renew(&self, _: &Fence, _: Duration) -> Result<()> {
        Ok(())
    }

    async fn release(&self, _: &Fence) -> Result<()> {
        Ok(())
    }

    async fn leases(&self) -> Result<Vec<Lease>> {
        Ok(Vec::new())
    }
}

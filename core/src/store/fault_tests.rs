//! Damage and several processes. What could end a process is done in a child: this test program, run again.

use std::{
    fs::{self, File},
    os::unix::{
        fs::{FileExt, PermissionsExt},
        process::ExitStatusExt,
    },
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::{preflight::DATA, *};
use crate::error::ErrorKind;

const ROLE: &str = "TRIUNE_TEST_STORE_ROLE";
const FOLDER: &str = "TRIUNE_TEST_STORE_FOLDER";

pub(super) fn small() -> StoreConfig {
    StoreConfig { map_size: 1 << 20, ..StoreConfig::default() }
}

pub(super) fn child(role: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "store::fault_tests::as_a_child", "--nocapture"]).env(ROLE, role).env(FOLDER, folder);
    command
}

/// Runs a child and gives what it said, or the signal that ended it.
fn run(role: &str, folder: &Path) -> Result<String, i32> {
    let output = child(role, folder).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.signal() {
        Some(signal) => Err(signal),
        None => Ok(text.lines().find_map(|line| line.strip_prefix("child: ")).unwrap_or(&text).to_owned()),
    }
}

/// Not a test of its own: what a child does.
#[tokio::test]
async fn as_a_child() {
    let (Ok(role), Ok(folder)) = (std::env::var(ROLE), std::env::var(FOLDER)) else { return };
    let folder = Path::new(&folder);
    println!();
    match role.as_str() {
        "check" => match check_here(folder) {
            Ok(report) => println!("{}", serde_json::to_string(&report).unwrap()),
            Err(error) => println!("child: {}", error.code()),
        },
        "read" => match Store::open(folder, &small()).and_then(|store| count(&store)) {
            Ok(count) => println!("child: {count}"),
            Err(error) => println!("child: {}", error.code()),
        },
        "write" => fill(&Store::open(folder, &small()).unwrap(), 40).await,
        "stream" => {
            let store = Store::open(folder, &small()).unwrap();
            let begin = count(&store).unwrap() as u32;
            for i in begin.. {
                // Two rows a write: both must be there, or none.
                let both = move |write: &mut Write<'_, '_>| {
                    write.tables.cache.put(write.txn, &i.to_be_bytes(), &vec![7; 3_000])?;
                    write.tables.runs.put(write.txn, &i.to_be_bytes(), b"1")
                };
                store.write(both).await.unwrap();
                println!("child: {i}");
            }
        }
        "die" => {
            let store = Store::open(folder, &small()).unwrap();
            store.read(|_| -> Result<()> { std::process::abort() }).unwrap();
        }
        other => panic!("no role {other}"),
    }
}

pub(super) async fn fill(store: &Store, count: u32) {
    for i in 0..count {
        store.write(move |write| write.tables.cache.put(write.txn, &i.to_be_bytes(), &vec![7; 100_000])).await.unwrap();
    }
}

pub(super) fn count(store: &Store) -> Result<usize> {
    store.read(|read| {
        let mut count = 0;
        for row in read.tables.cache.prefix(read.txn, b"")? {
            row?;
            count += 1;
        }
        Ok(count)
    })
}

/// A store with live pages at the front and, at the end, pages that were freed.
async fn fixture(folder: &Path) {
    let store = Store::open(folder, &small()).unwrap();
    let put = |i: u32| {
        let store = store.clone();
        async move {
            let value = format!("findme-{i}-").repeat(300).into_bytes();
            store.write(move |write| write.tables.cache.put(write.txn, &i.to_be_bytes(), &value)).await.unwrap();
        }
    };
    for i in 1_000..1_020 {
        put(i).await;
    }
    fill(&store, 20).await;
    store
        .write(|write| (0..20_u32).try_for_each(|i| write.tables.cache.delete(write.txn, &i.to_be_bytes()).map(drop)))
        .await
        .unwrap();
    for _ in 0..3 {
        for i in 1_000..1_005 {
            put(i).await;
        }
    }
}

#[tokio::test]
async fn a_truncated_file_is_an_error_and_never_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    fixture(folder.path()).await;
    let whole = fs::read(folder.path().join(DATA)).unwrap();
    let mut lengths = vec![1, 100, 4_095, 4_096, 4_097, 8_191, 8_192, 8_193, whole.len() - 1, whole.len() - 4_096];
    lengths.extend((1..20).map(|part| whole.len() * part / 20));
    let (mut refused, mut sound) = (0, 0);
    for length in lengths {
        let copy = tempfile::tempdir().unwrap();
        fs::write(copy.path().join(DATA), &whole[..length]).unwrap();
        match run("read", copy.path()) {
            Ok(said) if said == "CORRUPT" => refused += 1,
            // Only free pages were cut off: everything is there.
            Ok(said) if said == "20" => sound += 1,
            other => panic!("cut to {length} of {}: {other:?}", whole.len()),
        }
    }
    assert!(refused >= 10 && sound >= 1, "refused {refused}, sound {sound}");
}

#[tokio::test]
async fn what_is_no_store_is_refused() {
    for bytes in [b"not a store at all".repeat(1_000), vec![0; 8_192], vec![0xff; 20_000]] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(DATA), bytes).unwrap();
        let error = Store::open(folder.path(), &small()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(DATA), b"").unwrap();
    Store::open(folder.path(), &small()).unwrap();
}

#[tokio::test]
async fn a_flipped_bit_is_found_when_read_and_by_a_check() {
    let folder = tempfile::tempdir().unwrap();
    fixture(folder.path()).await;
    let path = folder.path().join(DATA);
    let needle = b"findme-1010-findme";
    let mut bytes = fs::read(&path).unwrap();
    let found: Vec<usize> =
        bytes.windows(needle.len()).enumerate().filter_map(|(at, part)| (part == needle).then_some(at)).collect();
    assert!(!found.is_empty());
    for at in found {
        bytes[at] ^= 4;
    }
    fs::write(&path, bytes).unwrap();
    let report = check_in(&mut child("check", folder.path()), Duration::from_mins(1)).unwrap();
    assert!(!report.ok && report.damaged == 1 && report.rows["cache"] == 19, "{report:?}");
    assert!(report.problems[0].contains("table cache, row 10"), "{report:?}");
    let store = Store::open(folder.path(), &small()).unwrap();
    let read = store.read(|read| Ok(read.tables.cache.get(read.txn, &1_010_u32.to_be_bytes())?.map(<[u8]>::len)));
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(store.read(|read| read.tables.cache.get(read.txn, &1_011_u32.to_be_bytes()).map(drop)).is_ok());
}

#[tokio::test]
async fn a_damaged_page_ends_the_child_at_most() {
    let folder = tempfile::tempdir().unwrap();
    fixture(folder.path()).await;
    let path = folder.path().join(DATA);
    let sound = check_in(&mut child("check", folder.path()), Duration::from_mins(1)).unwrap();
    assert!(sound.ok && sound.rows["cache"] == 20, "{sound:?}");
    let whole = fs::read(&path).unwrap();
    // Values that were written once lie where they were first put, so these pages are live.
    let live: Vec<_> = (1_005..1_011)
        .map(|i| {
            let needle = format!("findme-{i}-findme").into_bytes();
            whole.windows(needle.len()).position(|part| part == needle).unwrap() as u64 / 4_096
        })
        .collect();
    let (mut found, mut quiet) = (Vec::new(), 0);
    for page in live.iter().copied().chain(2..14) {
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[0; 4_096], page * 4_096).unwrap();
        match check_in(&mut child("check", folder.path()), Duration::from_mins(1)) {
            Ok(report) if report.ok => quiet += 1,
            Ok(report) => {
                assert!(!report.problems.is_empty());
                found.push(page);
            }
            // The store could not be opened at all: the child said why.
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable);
                found.push(page);
            }
        }
        fs::write(&path, &whole).unwrap();
    }
    eprintln!("zeroed pages: {} found, {quiet} held nothing live", found.len());
    assert!(live.iter().all(|page| found.contains(page)), "{live:?}: {found:?}");
}

#[tokio::test]
async fn the_growth_of_another_process_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &small()).unwrap();
    assert_eq!(count(&store).unwrap(), 0);
    run("write", folder.path()).unwrap();
    assert_eq!(count(&store).unwrap(), 40);
    store.write(|write| write.tables.cache.put(write.txn, b"mine", b"1")).await.unwrap();
    assert_eq!(run("read", folder.path()).unwrap(), "41");
}

#[tokio::test]
async fn a_process_that_died_in_a_read_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &small()).unwrap();
    assert_eq!(run("die", folder.path()), Err(6));
    fill(&store, 5).await;
    drop(store);
    let store = Store::open(folder.path(), &small()).unwrap();
    assert_eq!(count(&store).unwrap(), 5);
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..6 {
        let mut child = child("stream", folder.path()).stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut numbers = lines.by_ref().filter_map(|line| line.strip_prefix("child: ")?.parse::<u32>().ok());
        for _ in 0..(10 + 13 * round) {
            acknowledged = numbers.next().unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let last = numbers.last().unwrap_or(acknowledged);
        let store = Store::open(folder.path(), &small()).unwrap();
        let rows = count(&store).unwrap();
        assert!(rows > last as usize, "round {round}: {rows} rows, acknowledged up to {last}");
        let twins = store.read(|read| Ok(read.tables.runs.keys(read.txn, b"")?.count())).unwrap();
        assert_eq!(twins, rows, "a write was torn");
    }
    assert!(check_here(folder.path()).unwrap().ok && acknowledged > 100);
}

#[tokio::test]
async fn reads_go_on_while_the_map_grows() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &small()).unwrap();
    let done = AtomicBool::new(false);
    let (done, reader) = (&done, &store);
    let reads = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(move || {
                    let (mut reads, mut last) = (0, 0);
                    while !done.load(Ordering::Relaxed) {
                        let now = count(reader).unwrap();
                        assert!(now >= last, "a commit was lost");
                        last = now;
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        scope.spawn(move || {
            runtime.block_on(fill(reader, 80));
            done.store(true, Ordering::Relaxed);
        });
        readers.into_iter().map(|reader| reader.join().unwrap()).sum::<usize>()
    });
    assert!(reads > 0);
    assert_eq!(count(&store).unwrap(), 80);
}

#[tokio::test]
async fn a_long_read_holds_up_growth_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &small()).unwrap();
    let (entered, in_read) = std::sync::mpsc::channel();
    let (leave, may_leave) = std::sync::mpsc::channel::<()>();
    let long = store.clone();
    let reader = std::thread::spawn(move || {
        long.read(|_| {
            entered.send(()).unwrap();
            may_leave.recv().map_err(|_| Error::unexpected("the test ended"))
        })
    });
    in_read.recv().unwrap();
    let writer = store.clone();
    let (grown, mut has_grown) = tokio::sync::oneshot::channel();
    crate::Runtime::default().spawn(async move {
        fill(&writer, 40).await;
        grown.send(()).unwrap();
    });
    let other = store.clone();
    let reads = tokio::task::spawn_blocking(move || {
        // Until the map is full and the writer waits to grow it, and then for a while.
        let (mut before, mut same) = (0, 0);
        while same < 20 {
            let now = count(&other).unwrap();
            same = if now == before && now > 0 { same + 1 } else { 0 };
            before = now;
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    tokio::time::timeout(Duration::from_secs(30), reads).await.expect("reads wait behind the growth").unwrap();
    assert!(has_grown.try_recv().is_err());
    leave.send(()).unwrap();
    reader.join().unwrap().unwrap();
    has_grown.await.unwrap();
    assert_eq!(count(&store).unwrap(), 40);
}

#[tokio::test]
async fn a_check_of_a_table_that_cannot_be_walked_ends() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &small()).unwrap();
    let put = |write: &mut Write<'_, '_>, i: u32| write.tables.cache.put(write.txn, &i.to_be_bytes(), &[7; 500]);
    store.write(move |write| (0..300).try_for_each(|i| put(write, i))).await.unwrap();
    drop(store);
    let path = folder.path().join(DATA);
    let mut bytes = fs::read(&path).unwrap();
    let at = |bytes: &[u8], at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let mut broken = 0;
    for page in (0..bytes.len()).step_by(4_096).skip(2) {
        // A page of branches: flags, and where the free space begins, stand in its head of 16 bytes.
        let children = at(&bytes, page + 12).saturating_sub(16) / 2;
        if at(&bytes, page + 10) == 1 && (2..1_000).contains(&children) {
            let node = page + at(&bytes, page + 18);
            // The second child is a page that the file does not have.
            bytes[node..node + 4].copy_from_slice(&[0xff, 0xff, 0xff, 0x7f]);
            broken += 1;
        }
    }
    assert!(broken > 0, "the store has no page of branches");
    fs::write(&path, bytes).unwrap();
    let report = check_in(&mut child("check", folder.path()), Duration::from_mins(1)).unwrap();
    assert!(!report.ok && (1..100).contains(&report.damaged), "{report:?}");
}

#[tokio::test]
async fn what_cannot_wait_for_a_full_queue_is_written_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &StoreConfig { queue: 1, ..small() }).unwrap();
    let (enter, entered) = std::sync::mpsc::channel();
    let (leave, may_leave) = std::sync::mpsc::channel::<()>();
    let writer = store.clone();
    let hold = move |_: &mut Write<'_, '_>| {
        enter.send(()).unwrap();
        may_leave.recv().map_err(|_| Error::unexpected("the test ended"))
    };
    crate::Runtime::default().spawn(async move { writer.write(hold).await.unwrap() });
    tokio::task::spawn_blocking(move || entered.recv().unwrap()).await.unwrap();
    let put = |i: u32| -> Job { Box::new(move |write| write.tables.cache.put(write.txn, &i.to_be_bytes(), b"1")) };
    for i in 0..50 {
        store.enqueue_soon(vec![put(i)]);
    }
    leave.send(()).unwrap();
    store.flush().await.unwrap();
    assert_eq!(count(&store).unwrap(), 50);
    (50..100).for_each(|i| store.enqueue_soon(vec![put(i)]));
    drop(store);
    assert_eq!(count(&Store::open(folder.path(), &small()).unwrap()).unwrap(), 100);
}

#[tokio::test]
async fn many_writes_at_once_with_failures_among_them_grow_the_map_and_stay_apart() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &small()).unwrap();
    let writes = (0..100_u32).map(|i| {
        let store = &store;
        async move {
            let done = store.write(move |write| {
                write.tables.cache.put(write.txn, &i.to_be_bytes(), &vec![1; 60_000])?;
                if i % 10 == 3 { Err(Error::invalid("this one fails")) } else { Ok(()) }
            });
            done.await.is_ok()
        }
    });
    let done = futures_util::future::join_all(writes).await;
    assert_eq!(done.iter().filter(|ok| **ok).count(), 90);
    assert_eq!(count(&store).unwrap(), 90);
}

#[tokio::test]
async fn closing_and_opening_again_at_once_works() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..30_u32 {
        let store = Store::open(folder.path(), &small()).unwrap();
        assert_eq!(count(&store).unwrap(), i as usize);
        store.write(move |write| write.tables.cache.put(write.txn, &i.to_be_bytes(), b"1")).await.unwrap();
    }
}

#[tokio::test]
async fn files_are_for_their_owner_only() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("new");
    drop(Store::open(&folder, &small()).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let path = folder.join(DATA);
    assert_eq!(mode(&path), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    drop(Store::open(&folder, &small()).unwrap());
    assert_eq!(mode(&path), 0o600);
    let linked = parent.path().join("linked");
    fs::create_dir(&linked).unwrap();
    std::os::unix::fs::symlink(&path, linked.join(DATA)).unwrap();
    assert_eq!(Store::open(&linked, &small()).unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_backup_is_a_store_of_its_own() {
    let (folder, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::open(folder.path(), &small()).unwrap();
    fill(&store, 10).await;
    store.backup_to(target.path()).await.unwrap();
    fill(&store, 12).await;
    let copy = Store::open(target.path(), &small()).unwrap();
    assert_eq!((count(&copy).unwrap(), count(&store).unwrap()), (10, 12));
    assert_eq!(store.backup_to(target.path()).await.unwrap_err().kind(), ErrorKind::Conflict);
}

//! Backups, what is restored from them, and compacting.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::Stdio,
};

use proptest::prelude::*;

use super::{
    fault_tests::{child, count, fill, small},
    preflight::{CLAIM, DATA, PART},
    *,
};

/// A backup of a store of `rows` rows.
async fn backup_of(rows: u32) -> tempfile::TempDir {
    let (folder, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::open(folder.path(), &small()).unwrap();
    fill(&store, rows).await;
    // Values of every form: small ones, and arroy's, which bear no checksum.
    store
        .write(|write| {
            (0..2_000_u32).try_for_each(|i| write.tables.postings.put(write.txn, &i.to_be_bytes(), &[3; 30]))?;
            let ann = write.tables.ann.remap_types::<heed::types::Bytes, heed::types::Bytes>();
            ann.put(write.txn, b"key", b"value").stored("ann")
        })
        .await
        .unwrap();
    store.backup_to(target.path()).await.unwrap();
    target
}

fn rows_in(folder: &Path) -> usize {
    count(&Store::open(folder, &small()).unwrap()).unwrap()
}

fn files_of(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_backup_is_restored_from_its_folder_or_its_file() {
    let backup = backup_of(10).await;
    for source in [backup.path().to_owned(), backup.path().join(DATA)] {
        let folder = tempfile::tempdir().unwrap();
        let report = restore(&source, folder.path(), false).unwrap();
        assert!(report.ok && report.rows["cache"] == 10 && report.rows["postings"] == 2_000 && report.rows["ann"] == 1);
        assert_eq!(rows_in(folder.path()), 10);
        assert_eq!(files_of(folder.path()), [DATA, preflight::LOCK, CLAIM]);
    }
}

#[tokio::test]
async fn a_store_is_replaced_only_when_that_is_said_and_nobody_has_it_open() {
    let (backup, folder) = (backup_of(10).await, tempfile::tempdir().unwrap());
    let store = Store::open(folder.path(), &small()).unwrap();
    fill(&store, 3).await;
    for replace in [false, true] {
        let error = restore(backup.path(), folder.path(), replace).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert_eq!(compact(folder.path()).unwrap_err().kind(), ErrorKind::Conflict);
    }
    drop(store);
    assert_eq!(restore(backup.path(), folder.path(), false).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(rows_in(folder.path()), 3);
    restore(backup.path(), folder.path(), true).unwrap();
    assert_eq!(rows_in(folder.path()), 10);
    let itself = restore(folder.path(), folder.path(), true).unwrap_err();
    assert!(matches!(itself.kind(), ErrorKind::Invalid | ErrorKind::Conflict), "{itself}");
    assert_eq!(rows_in(folder.path()), 10);
}

#[tokio::test]
async fn a_store_of_another_process_is_left_alone_but_can_be_copied() {
    let (backup, folder, target) = (backup_of(1).await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut writer = child("stream", folder.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(writer.stdout.take().unwrap()).lines();
    let mut next = || said.find_map(|line| line.unwrap().strip_prefix("child: ").map(str::to_owned)).unwrap();
    while next() != "20" {}
    assert_eq!(restore(backup.path(), folder.path(), true).unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(compact(folder.path()).unwrap_err().kind(), ErrorKind::Conflict);
    let report = super::backup(folder.path(), target.path()).unwrap();
    assert!(report.rows["cache"] >= 20 && report.rows["cache"] == report.rows["runs"], "{report:?}");
    // The writer goes on meanwhile.
    next();
    // A program that knows nothing of claims is seen by the lock of LMDB.
    fs::remove_file(folder.path().join(CLAIM)).unwrap();
    assert_eq!(compact(folder.path()).unwrap_err().kind(), ErrorKind::Conflict);
    writer.kill().unwrap();
    writer.wait().unwrap();
    compact(folder.path()).unwrap();
    assert!(rows_in(folder.path()) >= 20);
}

#[tokio::test]
async fn who_opens_a_folder_that_is_replaced_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path(), &small()).unwrap());
    let claim = claim::Claim::alone(folder.path()).unwrap();
    let error = Store::open(folder.path(), &small()).unwrap_err();
    assert!(error.kind() == ErrorKind::Unavailable && error.is_retryable(), "{error}");
    drop(claim);
    Store::open(folder.path(), &small()).unwrap();
}

#[tokio::test]
async fn compacting_gives_free_space_back_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &small()).unwrap();
    fill(&store, 40).await;
    let remove = |write: &mut Write<'_, '_>| {
        (1..40_u32).try_for_each(|i| write.tables.cache.delete(write.txn, &i.to_be_bytes()).map(drop))
    };
    store.write(remove).await.unwrap();
    drop(store);
    fs::write(folder.path().join(PART), b"left by one who was killed").unwrap();
    let sizes = compact(folder.path()).unwrap();
    assert!(sizes.before > 4_000_000 && sizes.after < 500_000, "{sizes:?}");
    assert_eq!(rows_in(folder.path()), 1);
    assert!(!folder.path().join(PART).exists());
    let store = Store::open(folder.path(), &small()).unwrap();
    fill(&store, 5).await;
    assert_eq!(count(&store).unwrap(), 5);
}

#[tokio::test]
async fn statistics_say_what_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &small()).unwrap();
    fill(&store, 20).await;
    let full = store.statistics().unwrap();
    assert!(
        full.tables["cache"].rows == 20 && full.tables["cache"].bytes >= 2_000_000 && full.schema == SCHEMA_VERSION
    );
    store.write(|write| write.tables.cache.delete_prefix(write.txn, b"").map(drop)).await.unwrap();
    let empty = store.statistics().unwrap();
    assert!(!empty.tables.contains_key("cache") && empty.free >= 2_000_000 && empty.bytes >= full.bytes, "{empty:?}");
}

#[tokio::test]
async fn what_is_no_backup_leaves_the_folder_as_it_is() {
    let (backup, folder) = (backup_of(10).await, tempfile::tempdir().unwrap());
    drop(Store::open(folder.path(), &small()).unwrap());
    let whole = fs::read(backup.path().join(DATA)).unwrap();
    let other = tempfile::tempdir().unwrap();
    let try_bytes = |bytes: &[u8]| {
        fs::write(other.path().join(DATA), bytes).unwrap();
        let error = restore(other.path(), folder.path(), true).unwrap_err();
        assert_eq!(rows_in(folder.path()), 0);
        assert!(!folder.path().join(PART).exists());
        error
    };
    assert_eq!(try_bytes(b"not a store").kind(), ErrorKind::Corrupt);
    assert_eq!(try_bytes(&whole[..whole.len() / 2]).kind(), ErrorKind::Corrupt);
    let mut damaged = whole.clone();
    let at = damaged.windows(64).position(|part| part == [7; 64]).unwrap();
    damaged[at + 5_000] ^= 1;
    assert_eq!(try_bytes(&damaged).kind(), ErrorKind::Corrupt);
    let missing = restore(&other.path().join("missing"), folder.path(), true).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    assert_eq!(super::backup(other.path().parent().unwrap(), other.path()).unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_backup_of_a_newer_version_and_a_foreign_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (schema, kind) in [(Some(SCHEMA_VERSION + 1), ErrorKind::Unsupported), (None, ErrorKind::Corrupt)] {
        let (made, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Store::open(made.path(), &small()).unwrap();
        let change = move |write: &mut Write<'_, '_>| match schema {
            Some(schema) => write.tables.meta.put_json(write.txn, b"schema", &schema),
            None => write.tables.meta.delete(write.txn, b"schema").map(drop),
        };
        store.write(change).await.unwrap();
        store.backup_to(backup.path()).await.unwrap();
        assert_eq!(restore(backup.path(), folder.path(), false).unwrap_err().kind(), kind);
    }
    // An older one is restored as it is, and migrated when it is opened.
    let (made, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::open(made.path(), &small()).unwrap();
    store.write(|write| write.tables.meta.put_json(write.txn, b"schema", &1)).await.unwrap();
    store.backup_to(backup.path()).await.unwrap();
    restore(backup.path(), folder.path(), false).unwrap();
    assert_eq!(rows_in(folder.path()), 0);
}

#[tokio::test]
async fn a_failed_backup_leaves_nothing_behind() {
    let (folder, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::open(folder.path(), &small()).unwrap();
    fill(&store, 3).await;
    fs::create_dir(target.path().join(PART)).unwrap();
    assert_eq!(store.backup_to(target.path()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    fs::remove_dir(target.path().join(PART)).unwrap();
    assert_eq!(files_of(target.path()), [CLAIM]);
    // This process has the folder open; then it does not.
    let other = tempfile::tempdir().unwrap();
    assert_eq!(super::backup(folder.path(), target.path()).unwrap().rows["cache"], 3);
    drop(store);
    assert_eq!(super::backup(folder.path(), other.path()).unwrap().rows["cache"], 3);
    assert_eq!(super::backup(folder.path(), target.path()).unwrap_err().kind(), ErrorKind::Conflict);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Whatever bytes are changed, reading ends, and does not end the process; what it calls sound, LMDB can read.
    #[test]
    fn no_damage_ends_the_walk(changes in prop::collection::vec((0.0..1.0_f64, any::<u8>()), 1..20)) {
        static WHOLE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let whole = WHOLE.get_or_init(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            fs::read(runtime.block_on(backup_of(2)).path().join(DATA)).unwrap()
        });
        let mut bytes = whole.clone();
        for (place, value) in changes {
            // Mostly where pages begin: that is where structure stands.
            let at = (place * bytes.len() as f64) as usize;
            let at = if value % 2 == 0 { at / 4_096 * 4_096 + usize::from(value) / 4 } else { at };
            bytes[at] = value;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(DATA), &bytes).unwrap();
        if pages::check(&folder.path().join(DATA)).is_ok() {
            let found = walk::read_all(&folder.path().join(DATA)).unwrap();
            if found.report.ok && found.schema == Some(SCHEMA_VERSION) {
                prop_assert_eq!(rows_in(folder.path()), 2);
            }
        }
    }
}

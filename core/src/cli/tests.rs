use std::path::Path;

use crate::store::{Store, StoreConfig, Write};

/// The exit code of a command.
fn run(arguments: &[&str]) -> u8 {
    super::run(&[], std::iter::once("triune").chain(arguments.iter().copied()))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn store_in(folder: &Path) -> Store {
    Store::open(folder, &StoreConfig::default()).unwrap()
}

fn put(store: &Store, value: &'static [u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let put = move |write: &mut Write<'_, '_>| write.tables.cache.put(write.txn, b"key", value);
    runtime.block_on(store.write(put)).unwrap();
}

fn value_in(folder: &Path) -> Vec<u8> {
    store_in(folder).read(|read| Ok(read.tables.cache.get(read.txn, b"key")?.unwrap().to_vec())).unwrap()
}

#[test]
fn a_check_tells_by_its_exit_code_what_it_found() {
    let folder = tempfile::tempdir().unwrap();
    let check = || run(&["check", "--here", text(folder.path())]);
    assert_eq!(check(), 1, "there is no store");
    let store = store_in(folder.path());
    put(&store, b"value");
    assert_eq!(check(), 0);
    assert_eq!(run(&["stats", "--json", text(folder.path())]), 0);
    // A program that ends without a report says nothing of the store.
    let program = ["false".into()];
    assert_eq!(super::run(&program, ["triune", "check", text(folder.path())]), 1);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // A namespace that says it has an item, which is not there.
    let lie = |write: &mut Write<'_, '_>| {
        let namespace = serde_json::json!({"ns": 0, "next": 1, "items": 1, "form": 3});
        write.tables.namespaces.put_json(write.txn, b"default", &namespace)
    };
    runtime.block_on(store.write(lie)).unwrap();
    assert_eq!(run(&["stats", text(folder.path())]), 0);
    let mut report = crate::store::CheckReport::default();
    crate::recall::check_recall(&store, &mut report).unwrap();
    assert!(
        !report.ok && report.inconsistent == 1 && report.problems[0].contains("0 items, and 1 are noted"),
        "{report:?}"
    );
}

#[test]
fn a_folder_is_copied_put_back_and_made_smaller_and_the_exit_code_says_how_it_went() {
    let parent = tempfile::tempdir().unwrap();
    let [mind, copy, other] = ["mind", "copy", "other"].map(|name| parent.path().join(name));
    let (mind, copy, other) = (mind.as_path(), copy.as_path(), other.as_path());
    assert_eq!(run(&["backup", text(mind), text(copy)]), 1, "there is no store");
    assert!(!mind.exists());
    let store = store_in(mind);
    put(&store, b"before");
    assert_eq!(run(&["backup", text(mind), text(copy)]), 0);
    assert_eq!(run(&["backup", text(mind), text(copy)]), 1, "there is one already");
    put(&store, b"after");
    assert_eq!(run(&["stats", text(mind)]), 0);
    assert_eq!(run(&["compact", text(mind)]), 1, "it is open");
    drop(store);
    assert_eq!(run(&["compact", "--json", text(mind)]), 0);
    assert_eq!(value_in(mind), b"after");
    assert_eq!(run(&["restore", text(copy), text(mind)]), 1, "there is a store");
    assert_eq!(run(&["restore", text(copy), text(mind), "--replace"]), 0);
    assert_eq!(value_in(mind), b"before");
    assert_eq!(run(&["restore", text(copy), text(other)]), 0);
    assert_eq!(value_in(other), b"before");
    std::fs::write(copy.join("data.mdb"), b"damaged").unwrap();
    assert_eq!(run(&["restore", text(copy), text(other), "--replace"]), 3, "it is damaged");
    assert_eq!(value_in(other), b"before");
    assert_eq!(run(&["stats", text(&parent.path().join("none"))]), 1);
    assert_eq!(run(&["restore", text(copy)]), 2, "a folder is missing");
    assert_eq!(run(&["restore", "--help"]), 0);
}

use super::*;

fn put(key: &'static str, value: &'static str) -> impl FnMut(&mut Write<'_, '_>) -> Result<()> + Send + 'static {
    move |write| write.tables.meta.put(write.txn, key.as_bytes(), value.as_bytes())
}

fn get(store: &Store, key: &str) -> Option<Vec<u8>> {
    store.read(|read| Ok(read.tables.meta.get(read.txn, key.as_bytes())?.map(<[u8]>::to_vec))).unwrap()
}

#[tokio::test]
async fn a_write_is_visible_after_it_returns_and_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &StoreConfig::default()).unwrap();
    store.write(put("a", "1")).await.unwrap();
    assert_eq!(get(&store, "a").as_deref(), Some(&b"1"[..]));
    drop(store);
    let store = Store::open(folder.path(), &StoreConfig::default()).unwrap();
    assert_eq!(get(&store, "a").as_deref(), Some(&b"1"[..]));
}

#[tokio::test]
async fn a_failing_job_undoes_itself_and_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &StoreConfig::default()).unwrap();
    let bad = store.write(|write| {
        write.tables.meta.put(write.txn, b"bad", b"1")?;
        Err::<(), _>(Error::invalid("no"))
    });
    let (bad, good) = tokio::join!(bad, store.write(put("good", "1")));
    assert_eq!(bad.unwrap_err().kind(), crate::ErrorKind::Invalid);
    good.unwrap();
    assert_eq!((get(&store, "bad"), get(&store, "good").is_some()), (None, true));
}

#[tokio::test]
async fn the_map_grows_when_it_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let config = StoreConfig { map_size: 1 << 20, ..StoreConfig::default() };
    let store = Store::open(folder.path(), &config).unwrap();
    for i in 0..40_u32 {
        store.write(move |write| write.tables.items.put(write.txn, &i.to_be_bytes(), &vec![7; 100_000])).await.unwrap();
    }
    let count = store.read(|read| Ok(read.tables.items.prefix(read.txn, b"")?.count())).unwrap();
    assert_eq!(count, 40);
}

#[tokio::test]
async fn one_folder_is_one_store_in_a_process() {
    let folder = tempfile::tempdir().unwrap();
    let one = Store::open(folder.path(), &StoreConfig::default()).unwrap();
    let two = Store::open(folder.path(), &StoreConfig::default()).unwrap();
    one.write(put("a", "1")).await.unwrap();
    assert!(get(&two, "a").is_some());
}

//! The cache in the store.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::{Cache, ledger::check_tenant};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    store::{Read, Store, Write, is_lmdb},
};

/// Bytes of a key that stand in the store as they are; a longer one is stored by its hash.
const PLAIN_KEY: usize = 200;
/// Old entries that every write looks at, so that what has expired does not stay.
const SWEEP: usize = 16;
/// Bytes of the expiry before each value.
const EXPIRY: usize = 8;

/// A [`Cache`] in the store of triune: it survives the process and is shared by all processes of the folder. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct LmdbCache {
    store: Store,
    /// The last key that was looked at for expiry.
    swept: Arc<Mutex<Vec<u8>>>,
}

impl LmdbCache {
    /// The cache in `store`.
    pub fn new(store: Store) -> Self {
        Self { store, swept: Arc::default() }
    }

    /// Writes and sweeps a little, in one transaction.
    async fn change(
        &self,
        mut change: impl FnMut(&mut Write<'_, '_>) -> Result<bool> + Send + 'static,
    ) -> Result<bool> {
        let swept = Arc::clone(&self.swept);
        self.store
            .write(move |write| {
                let changed = change(write)?;
                sweep(write, &swept)?;
                Ok(changed)
            })
            .await
    }
}

#[async_trait]
impl Cache for LmdbCache {
    async fn get(&self, cx: &Context, key: &[u8]) -> Result<Option<Vec<u8>>> {
        cx.check()?;
        let key = stored_key(&cx.tenant, key)?;
        self.store.read(|read| {
            let Read { tables, txn } = read;
            Ok(live(tables.cache.get(txn, &key)?, now_ms())?.map(<[u8]>::to_vec))
        })
    }

    async fn put(&self, cx: &Context, key: &[u8], value: Vec<u8>, ttl: Option<Duration>) -> Result<()> {
        cx.check()?;
        let (key, value) = (stored_key(&cx.tenant, key)?, stored_value(&value, ttl));
        self.change(move |write| write.tables.cache.put(write.txn, &key, &value).map(|()| true)).await.map(drop)
    }

    async fn delete(&self, cx: &Context, key: &[u8]) -> Result<bool> {
        cx.check()?;
        let key = stored_key(&cx.tenant, key)?;
        self.change(move |write| {
            let there = look(write, &key, now_ms())? != Found::Gone;
            write.tables.cache.delete(write.txn, &key)?;
            Ok(there)
        })
        .await
    }

    async fn compare_and_swap(
        &self,
        cx: &Context,
        key: &[u8],
        expected: Option<&[u8]>,
        value: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Result<bool> {
        cx.check()?;
        let (key, value) = (stored_key(&cx.tenant, key)?, stored_value(&value, ttl));
        let expected = expected.map(<[u8]>::to_vec);
        self.change(move |write| {
            let found = live(write.tables.cache.get(write.txn, &key)?, now_ms())?;
            if found != expected.as_deref() {
                return Ok(false);
            }
            write.tables.cache.put(write.txn, &key, &value).map(|()| true)
        })
        .await
    }
}

/// The tenant with its length before it, so that no key of one tenant is a key of another.
fn stored_key(tenant: &str, key: &[u8]) -> Result<Vec<u8>> {
    check_tenant(tenant)?;
    let mut stored = (tenant.len() as u16).to_be_bytes().to_vec();
    stored.extend_from_slice(tenant.as_bytes());
    if key.len() <= PLAIN_KEY {
        stored.push(0);
        stored.extend_from_slice(key);
    } else {
        stored.push(1);
        stored.extend_from_slice(&Sha256::digest(key));
    }
    Ok(stored)
}

fn stored_value(value: &[u8], ttl: Option<Duration>) -> Vec<u8> {
    // 0 stands for never, so a time to live that ends now ends in the first millisecond.
    let expiry = ttl.map_or(0, |ttl| now_ms().saturating_add(ttl.as_millis().min(u64::MAX.into()) as u64).max(1));
    let mut stored = expiry.to_be_bytes().to_vec();
    stored.extend_from_slice(value);
    stored
}

/// The value in `stored`, unless it has expired.
fn live(stored: Option<&[u8]>, now: u64) -> Result<Option<&[u8]>> {
    let Some(stored) = stored else { return Ok(None) };
    let (expiry, value) = stored.split_first_chunk::<EXPIRY>().ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, "a cached value is too short; delete it").with("table", "cache")
    })?;
    let expiry = u64::from_be_bytes(*expiry);
    Ok((expiry == 0 || expiry > now).then_some(value))
}

/// What is under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Live,
    Gone,
    Damaged,
}

fn look(write: &Write<'_, '_>, key: &[u8], now: u64) -> Result<Found> {
    match write.tables.cache.get(write.txn, key).and_then(|stored| live(stored, now)) {
        Ok(Some(_)) => Ok(Found::Live),
        Ok(None) => Ok(Found::Gone),
        Err(error) if is_lmdb(&error) => Err(error),
        Err(_) => Ok(Found::Damaged),
    }
}

/// Looks at the next few entries, in order of their keys and over and over, and removes those that have expired, and
/// those that are damaged: nobody can read them.
fn sweep(write: &mut Write<'_, '_>, swept: &Mutex<Vec<u8>>) -> Result<()> {
    let mut last = swept.lock().unwrap_or_else(PoisonError::into_inner);
    let now = now_ms();
    // Every stored key is longer than one byte, so [0] is before all of them.
    let from = if last.is_empty() { &[0][..] } else { &last };
    let keys = write.tables.cache.keys_after(write.txn, from)?.take(SWEEP);
    let keys = keys.map(|key| key.map(<[u8]>::to_vec)).collect::<Result<Vec<_>>>()?;
    for key in &keys {
        if look(write, key, now)? != Found::Live {
            write.tables.cache.delete(write.txn, key)?;
        }
    }
    *last = if keys.len() == SWEEP { keys.last().cloned().unwrap_or_default() } else { Vec::new() };
    Ok(())
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreConfig;
    use proptest::prelude::*;

    #[tokio::test]
    async fn what_has_expired_is_swept_by_later_writes() {
        let folder = tempfile::tempdir().unwrap();
        let cache = LmdbCache::new(Store::open(folder.path(), &StoreConfig::default()).unwrap());
        let cx = Context::new();
        for i in 0..50_u8 {
            cache.put(&cx, &[b'a', i], vec![i], Some(Duration::ZERO)).await.unwrap();
        }
        for i in 0..10_u8 {
            cache.put(&cx, b"kept", vec![i], None).await.unwrap();
        }
        let left = cache.store.read(|read| Ok(read.tables.cache.prefix(read.txn, b"")?.count())).unwrap();
        assert_eq!(left, 1);
        assert_eq!(cache.get(&cx, b"kept").await.unwrap(), Some(vec![9]));
    }

    #[tokio::test]
    async fn a_damaged_entry_is_swept_and_stops_no_write() {
        let folder = tempfile::tempdir().unwrap();
        let cache = LmdbCache::new(Store::open(folder.path(), &StoreConfig::default()).unwrap());
        let cx = Context::new();
        // Both are shorter than an expiry; the checksum of the second is not its own.
        let short = |key: Vec<u8>| move |write: &mut Write<'_, '_>| write.tables.cache.put(write.txn, &key, b"x");
        cache.store.write(short(stored_key("", b"short").unwrap())).await.unwrap();
        cache.store.write(|write| write.tables.cache.put_damaged(write.txn, &[0, 0, 0, 1])).await.unwrap();
        for i in 0..10_u8 {
            cache.put(&cx, b"kept", vec![i], None).await.unwrap();
        }
        assert_eq!(cache.get(&cx, b"short").await.unwrap(), None);
        assert_eq!(cache.store.read(|read| Ok(read.tables.cache.keys(read.txn, b"")?.count())).unwrap(), 1);
        cache.store.write(short(stored_key("", b"again").unwrap())).await.unwrap();
        assert!(cache.delete(&cx, b"again").await.unwrap(), "what is damaged can be deleted");
    }

    proptest! {
        #[test]
        fn no_two_tenants_share_a_stored_key(
            a in ".{0,6}", b in ".{0,6}",
            x in prop::collection::vec(any::<u8>(), 0..8), y in prop::collection::vec(any::<u8>(), 0..8)
        ) {
            let same = stored_key(&a, &x).unwrap() == stored_key(&b, &y).unwrap();
            prop_assert_eq!(same, a == b && x == y);
        }
    }
}

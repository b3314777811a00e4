//! What any [`Cache`] must do. Written once against the trait; call `cache_conformance` from each implementation's
//! tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests may fail loudly")]

use std::time::Duration;

use triune::{
    Context, Result,
    router::{Cache, LmdbCache},
    store::{Store, StoreConfig},
};

/// Checks the contract of [`Cache`] on an empty `cache`.
pub async fn cache_conformance(cache: &dyn Cache) -> Result<()> {
    let cx = Context::new();
    values_are_put_and_deleted(cache, &cx).await?;
    times_to_live_end(cache, &cx).await?;
    tenants_are_apart(cache).await?;
    swaps_compare(cache, &cx).await?;
    one_of_many_swaps_wins(cache, &cx).await?;
    a_cancelled_call_does_nothing(cache).await
}

async fn values_are_put_and_deleted(cache: &dyn Cache, cx: &Context) -> Result<()> {
    assert_eq!(cache.get(cx, b"absent").await?, None);
    cache.put(cx, b"k", b"v1".to_vec(), None).await?;
    cache.put(cx, b"k", b"v2".to_vec(), None).await?;
    assert_eq!(cache.get(cx, b"k").await?.as_deref(), Some(&b"v2"[..]), "last write wins");
    assert!(cache.delete(cx, b"k").await?);
    assert!(!cache.delete(cx, b"k").await?, "it was gone already");
    assert_eq!(cache.get(cx, b"k").await?, None);
    for key in [vec![], vec![0; 3], vec![7; 5000]] {
        cache.put(cx, &key, vec![], None).await?;
        assert_eq!(cache.get(cx, &key).await?, Some(vec![]), "a key of {} bytes and an empty value", key.len());
        assert!(cache.delete(cx, &key).await?);
    }
    cache.put(cx, &[7; 5000], vec![1], None).await?;
    assert_eq!(cache.get(cx, &[7; 5001]).await?, None, "long keys are told apart");
    Ok(())
}

async fn times_to_live_end(cache: &dyn Cache, cx: &Context) -> Result<()> {
    cache.put(cx, b"brief", b"v".to_vec(), Some(Duration::ZERO)).await?;
    assert_eq!(cache.get(cx, b"brief").await?, None);
    assert!(!cache.delete(cx, b"brief").await?, "what has expired is not there");
    assert!(cache.compare_and_swap(cx, b"brief", None, b"w".to_vec(), Some(Duration::from_hours(1))).await?);
    assert_eq!(cache.get(cx, b"brief").await?.as_deref(), Some(&b"w"[..]));
    cache.put(cx, b"long", b"v".to_vec(), Some(Duration::MAX)).await?;
    assert_eq!(cache.get(cx, b"long").await?.as_deref(), Some(&b"v"[..]));
    Ok(())
}

async fn tenants_are_apart(cache: &dyn Cache) -> Result<()> {
    // Joined without care, these tenants and keys would be the same bytes.
    let cases: [(&str, &[u8]); 4] = [("", b"ab"), ("a", b"b"), ("ab", b""), ("a\0", b"b")];
    for (i, (tenant, key)) in cases.iter().enumerate() {
        cache.put(&Context::new().tenant(tenant), key, vec![i as u8], None).await?;
    }
    for (i, (tenant, key)) in cases.iter().enumerate() {
        assert_eq!(cache.get(&Context::new().tenant(tenant), key).await?, Some(vec![i as u8]));
    }
    assert_eq!(cache.get(&Context::new().tenant("b"), b"ab").await?, None);
    Ok(())
}

async fn swaps_compare(cache: &dyn Cache, cx: &Context) -> Result<()> {
    assert!(!cache.compare_and_swap(cx, b"cas", Some(b"x"), b"1".to_vec(), None).await?, "it is absent");
    assert!(cache.compare_and_swap(cx, b"cas", None, b"1".to_vec(), None).await?);
    assert!(!cache.compare_and_swap(cx, b"cas", None, b"2".to_vec(), None).await?, "it is there");
    assert!(!cache.compare_and_swap(cx, b"cas", Some(b"0"), b"2".to_vec(), None).await?);
    assert!(cache.compare_and_swap(cx, b"cas", Some(b"1"), b"2".to_vec(), None).await?);
    assert_eq!(cache.get(cx, b"cas").await?.as_deref(), Some(&b"2"[..]));
    Ok(())
}

async fn one_of_many_swaps_wins(cache: &dyn Cache, cx: &Context) -> Result<()> {
    let swaps = (0..20_u8).map(|i| cache.compare_and_swap(cx, b"race", None, vec![i], None));
    let won: Vec<bool> = futures_util::future::try_join_all(swaps).await?;
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    Ok(())
}

async fn a_cancelled_call_does_nothing(cache: &dyn Cache) -> Result<()> {
    let gone = Context::new();
    gone.cancel.cancel();
    assert!(cache.put(&gone, b"gone", vec![1], None).await.is_err());
    assert_eq!(cache.get(&Context::new(), b"gone").await?, None);
    Ok(())
}

#[tokio::test]
async fn the_cache_in_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &StoreConfig::default()).unwrap();
    cache_conformance(&LmdbCache::new(store.clone())).await.unwrap();
    let again = LmdbCache::new(store);
    assert!(again.get(&Context::new(), b"cas").await.unwrap().is_some(), "values outlive the cache that put them");
}

//! How much a namespace may hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::namespace::{Namespace, plain};
use crate::{
    error::{Error, ErrorKind, Result},
    store::{Read, Table, Write},
};

/// How much a namespace may hold; what is absent has no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Quota {
    /// Items at most.
    pub max_items: Option<u64>,
    /// Bytes of its items and of versions that were replaced, as stored, and of vectors at most. What is derived of them
    /// (words, facts, codes, lists) is not counted: about as much again.
    pub max_bytes: Option<u64>,
}

/// How much namespaces may hold. The first that is given counts: that of the namespace, of the tenant, `default`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Quotas {
    /// For namespaces that have no other. Default: no limit.
    pub default: Quota,
    /// For namespaces by their name, of calls without a tenant.
    pub namespaces: BTreeMap<String, Quota>,
    /// For each namespace of a tenant, by the name of the tenant.
    pub tenants: BTreeMap<String, Quota>,
}

impl Quotas {
    /// That of the namespace stored under `scoped`.
    pub(super) fn of(&self, scoped: &str) -> Quota {
        let own = match scoped.split_once('\0') {
            Some((tenant, _)) => self.tenants.get(tenant),
            None => self.namespaces.get(plain(scoped)),
        };
        own.copied().unwrap_or(self.default)
    }
}

impl Quota {
    /// Checks what a write made of a namespace. What holds more already may still become smaller.
    pub(super) fn check(&self, before: Held, namespace: &Namespace) -> Result<()> {
        let now = Held::of(namespace);
        let refused = |what: &'static str, most: u64, held: u64| {
            let message = format!(
                "the namespace may hold {most} {what} and would hold {held}; forget some, or raise its quota in \
                 `recall.quotas`. Nothing of this was stored"
            );
            // Trying again does not help: nothing makes room by itself.
            Err(Error::new(ErrorKind::Overloaded, message).retryable(false).with("quota", most).with(what, held))
        };
        match (self.max_items, self.max_bytes) {
            (Some(most), _) if now.items > most && now.items > before.items => refused("items", most, now.items),
            (_, Some(most)) if now.bytes > most && now.bytes > before.bytes => refused("bytes", most, now.bytes),
            _ => Ok(()),
        }
    }
}

/// Bytes of the records of a namespace, and of versions that were replaced.
pub(super) fn count(read: &Read<'_>, namespace: &Namespace) -> Result<u64> {
    let mut bytes = 0;
    for table in [read.tables.items, read.tables.past] {
        for row in table.prefix_unverified(read.txn, &namespace.prefix())? {
            bytes += row?.1.len() as u64;
        }
    }
    Ok(bytes)
}

/// Bytes of the value under `key`; 0 when there is none.
pub(super) fn length(table: Table, write: &Write<'_, '_>, key: &[u8]) -> Result<u64> {
    Ok(table.get_unverified(write.txn, key)?.map_or(0, <[u8]>::len) as u64)
}

/// What counts against a quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    items: u64,
    bytes: u64,
}

impl Held {
    pub(super) fn of(namespace: &Namespace) -> Self {
        let vectors = namespace.vectors.saturating_mul(namespace.dimensions as u64 * 4);
        Self { items: namespace.items, bytes: namespace.bytes.unwrap_or_default().saturating_add(vectors) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_quota_counts() {
        let of = |most| Quota { max_items: Some(most), max_bytes: None };
        let mut quotas = Quotas { default: of(1), ..Quotas::default() };
        quotas.namespaces.insert("big".into(), of(2));
        quotas.tenants.insert("acme".into(), of(3));
        for (name, most) in [("other", 1), ("big", 2), ("acme\0big", 3), ("acme\0x", 3), ("else\0big", 1), ("acme", 1)]
        {
            assert_eq!(quotas.of(name).max_items, Some(most), "{name:?}");
        }
    }
}

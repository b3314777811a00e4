//! How a store is opened.

use serde::{Deserialize, Serialize};

/// When a write counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Durability {
    /// When it is on disk: survives a crash of the process and of the machine.
    #[default]
    Sync,
    /// When it is committed: survives a crash of the process; the last writes may be lost with the machine, the
    /// folder never damaged.
    Relaxed,
}

/// Settings of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct StoreConfig {
    /// When a write counts as done; default `sync`.
    pub durability: Durability,
    /// Bytes of the memory map at first; it doubles when full. Default 1 GiB (address space, not disk).
    pub map_size: usize,
    /// Write jobs that may wait; a full queue makes callers wait. Default 1024.
    pub queue: usize,
    /// Write jobs committed with one fsync at most. Default 256.
    pub group: usize,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { durability: Durability::Sync, map_size: 1 << 30, queue: 1024, group: 256 }
    }
}

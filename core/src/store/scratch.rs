//! A folder of LMDB for what is only computed in it: building a forest of arroy takes one long write, for which no writer
//! of the store is to wait.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use heed::{CommitOrAbort, Env, EnvFlags, EnvOpenOptions, RwTxn, WithoutTls, types::Bytes};

use super::{Owner, table::StoreResultExt};
use crate::error::{Error, ErrorKind, Result};

type Forests = arroy::Database<'static, arroy::distances::Cosine>;

/// How the names of such folders begin.
const NAME: &str = "scratch-";
/// The file that says whose it is.
const OWNER: &str = "owner.json";
/// A folder whose owner is not known is left for so long: it may just be made.
const YOUNG: Duration = Duration::from_hours(1);

/// The table of arroy in a folder of its own, which goes when this is dropped. It survives nothing.
#[derive(Debug)]
pub(crate) struct Scratch {
    env: Env<WithoutTls>,
    forests: Forests,
    // Dropped last: the folder of an open environment stays.
    folder: Folder,
}

#[derive(Debug)]
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "a temporary folder of an index was left behind");
        }
    }
}

impl Scratch {
    /// In the folder of a store, with room for `bytes`: address space, not disk.
    pub(crate) fn open(store: &Path, bytes: usize) -> Result<Self> {
        let folder = store.join(format!("{NAME}{}", uuid::Uuid::now_v7()));
        let owner = serde_json::to_vec(&Owner::me()).unwrap_or_default();
        let made = fs::DirBuilder::new().mode(0o700).create(&folder);
        made.and_then(|()| fs::write(folder.join(OWNER), owner)).map_err(|e| {
            let message = "there is no room in the folder of the store to build an index; check space and permissions";
            Error::new(ErrorKind::Unavailable, message).with("folder", folder.display()).caused_by(e)
        })?;
        let folder = Folder(folder);
        let env = open_env(&folder.0, bytes).stored("scratch")?;
        let txn = env.write_txn().stored("scratch")?;
        let made = env.create_databases_and_commit(txn, |opener, txn| {
            Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(opener.create_database(txn, None)?))
        });
        let forests = made.stored("scratch")?.commit().ok_or_else(|| Error::unexpected("a table was not made"))?;
        Ok(Self { env, forests, folder })
    }

    /// The table of arroy.
    pub(crate) fn forests(&self) -> Forests {
        self.forests
    }

    /// A folder for files that arroy needs while it builds.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// Changes the table.
    pub(crate) fn write<T>(&self, change: impl FnOnce(&mut RwTxn<'_>) -> Result<T>) -> Result<T> {
        let mut txn = self.env.write_txn().stored("scratch")?;
        let value = change(&mut txn)?;
        txn.commit().stored("scratch")?;
        Ok(value)
    }

    /// Gives all rows to `take`, in order, about `bytes` at once.
    pub(crate) fn rows(&self, bytes: usize, mut take: impl FnMut(Vec<(Vec<u8>, Vec<u8>)>) -> Result<()>) -> Result<()> {
        let txn = self.env.read_txn().stored("scratch")?;
        let (mut part, mut size) = (Vec::new(), 0);
        for row in self.forests.remap_types::<Bytes, Bytes>().iter(&txn).stored("scratch")? {
            let (key, value) = row.stored("scratch")?;
            size += key.len() + value.len();
            part.push((key.to_vec(), value.to_vec()));
            if size >= bytes {
                take(std::mem::take(&mut part))?;
                size = 0;
            }
        }
        take(part)
    }
}

/// Removes what processes that were killed left in the folder of a store.
pub(super) fn clean(store: &Path) {
    let Ok(entries) = fs::read_dir(store) else { return };
    for entry in entries.flatten() {
        let (folder, name) = (entry.path(), entry.file_name());
        if !name.to_string_lossy().starts_with(NAME) || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let owner = fs::read(folder.join(OWNER)).ok().and_then(|owner| serde_json::from_slice::<Owner>(&owner).ok());
        let left = match owner {
            Some(owner) => owner.is_gone() || owner.is_of_another_boot(),
            None => entry
                .metadata()
                .and_then(|found| found.modified())
                .is_ok_and(|made| SystemTime::now().duration_since(made).is_ok_and(|age| age > YOUNG)),
        };
        if left {
            drop(Folder(folder));
        }
    }
}

#[expect(unsafe_code, reason = "opening a memory map is unsafe by nature")]
fn open_env(folder: &Path, bytes: usize) -> Result<Env<WithoutTls>, heed::Error> {
    const PAGES: usize = 64 * 1024;
    // Not WRITE_MAP: writing to a map whose disk is full ends the process by SIGBUS instead of an error.
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(bytes.max(PAGES).div_ceil(PAGES) * PAGES).max_dbs(1);
    // SAFETY: what the flags give up is what survives a crash, and this folder is not to survive one. It was just made
    // under a name of its own, so that nobody else maps its file.
    unsafe { options.flags(EnvFlags::NO_SYNC).open(folder) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_back_what_was_put_in_and_leaves_nothing_behind() {
        let store = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(store.path(), 1 << 20).unwrap();
        let folder = scratch.folder().to_owned();
        let table = scratch.forests().remap_types::<Bytes, Bytes>();
        scratch.write(|txn| (0..50_u8).try_for_each(|at| table.put(txn, &[at], &[at; 100]).stored("scratch"))).unwrap();
        let (mut rows, mut parts) = (Vec::new(), 0);
        let take = |part: Vec<_>| {
            parts += 1;
            rows.extend(part);
            Ok(())
        };
        scratch.rows(1_000, take).unwrap();
        assert!(parts >= 5 && rows.len() == 50 && rows[7] == (vec![7], vec![7; 100]));
        assert!(folder.exists());
        clean(store.path());
        assert!(folder.exists(), "who builds there still lives");
        drop(scratch);
        assert!(!folder.exists());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let store = tempfile::tempdir().unwrap();
        let folder = |name: &str, owner: Option<&str>| {
            let folder = store.path().join(name);
            fs::create_dir(&folder).unwrap();
            if let Some(owner) = owner {
                fs::write(folder.join(OWNER), owner).unwrap();
            }
            folder
        };
        let mut gone = serde_json::to_value(Owner::me()).unwrap();
        gone["started"] = 1.into();
        let gone = gone.to_string();
        let left = folder("scratch-1", Some(&gone));
        let kept = [folder("scratch-2", None), folder("other", Some(&gone))];
        clean(store.path());
        assert!(!left.exists() && kept.iter().all(|folder| folder.exists()));
    }
}

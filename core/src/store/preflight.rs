//! Looks at the files before they are mapped: a truncated LMDB file kills the process by SIGBUS when it is read.

use std::{
    fs,
    io::ErrorKind as IoErrorKind,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::Path,
};

use super::filesystem;
use crate::error::{Error, ErrorKind, Result};

/// The file of the data, as LMDB calls it.
pub(super) const DATA: &str = "data.mdb";
/// The file of its locks, as LMDB calls it.
pub(super) const LOCK: &str = "lock.mdb";
/// The file by which processes say that they have the folder open: see `claim`.
pub(super) const CLAIM: &str = "triune.lock";
/// A file of data that is being written.
pub(super) const PART: &str = "data.mdb.part";

/// Makes the folder, for its owner only. A folder that is there stays as it is.
pub(super) fn make_folder(folder: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| {
        Error::new(ErrorKind::Unavailable, "the folder of the store cannot be made; check its path and permissions")
            .with("folder", folder.display())
            .caused_by(e)
    })
}

/// Checks that `folder` can hold a store, and that the files in it, if there are any, are our own.
pub(super) fn check(folder: &Path) -> Result<()> {
    filesystem::check_local(folder)?;
    own(folder)
}

/// The error for a folder without a store where there should be one.
pub(super) fn no_store(folder: &Path) -> Error {
    Error::not_found("there is no store in this folder; check the path").with("folder", folder.display())
}

/// Makes the files readable for their owner only.
pub(super) fn own(folder: &Path) -> Result<()> {
    for name in [DATA, LOCK, CLAIM, PART] {
        own_file(&folder.join(name))?;
    }
    Ok(())
}

fn own_file(path: &Path) -> Result<()> {
    let refused = |message: &str| {
        Error::new(ErrorKind::Unavailable, message.to_owned()).retryable(false).with("file", path.display())
    };
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(e) if e.kind() == IoErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(refused("a file of the store cannot be looked at; check its permissions").caused_by(e)),
    };
    if !found.is_file() {
        return Err(refused("a file of the store is a link or a folder; put the real file there"));
    }
    let me = rustix::process::geteuid();
    if found.uid() != me.as_raw() && !me.is_root() {
        return Err(refused(
            "a file of the store belongs to another user, who could change it at any time; use a folder of your own",
        )
        .with("owner", found.uid()));
    }
    if found.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))
            .map_err(|e| refused("a file of the store is open to other users; run `chmod 600` on it").caused_by(e))?;
    }
    Ok(())
}

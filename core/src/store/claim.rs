//! Who has a folder open. Everyone who does holds a lock on one file of it, together with the others; who puts another
//! file of data in the place of the one there is holds it alone.
//!
//! LMDB has locks of its own, but they cannot be held while its file is replaced: who waited for them would go on with
//! what they say about the file that is gone.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::ErrorKind as IoErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Flock, FlockType, fcntl_getlk};

use super::preflight;
use crate::error::{Error, ErrorKind, Result};

/// How long who opens a folder waits for one who replaces its data: putting a file in place takes no longer.
const WAIT: Duration = Duration::from_secs(1);

/// Held for as long as a folder is open, or replaced. The system gives it back when the process ends, however it does.
#[derive(Debug)]
pub(super) struct Claim {
    _file: File,
}

impl Claim {
    /// For who opens the store in `folder`.
    ///
    /// # Errors
    /// `Unavailable` when its data are being replaced.
    pub(super) fn shared(folder: &Path) -> Result<Self> {
        let file = open(folder)?;
        let end = Instant::now() + WAIT;
        loop {
            match file.try_lock_shared() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if Instant::now() < end => thread::sleep(Duration::from_millis(10)),
                Err(TryLockError::WouldBlock) => {
                    let message =
                        "the store of this folder is being restored or compacted; try again when that is done";
                    return Err(Error::new(ErrorKind::Unavailable, message).with("folder", folder.display()));
                }
                // Nobody can hold it alone then either.
                Err(TryLockError::Error(e)) if e.kind() == IoErrorKind::Unsupported => return Ok(Self { _file: file }),
                Err(TryLockError::Error(e)) => return Err(cannot(folder, e)),
            }
        }
    }

    /// For who replaces the data in `folder`.
    ///
    /// # Errors
    /// `Conflict` when somebody has it open.
    pub(super) fn alone(folder: &Path) -> Result<Self> {
        let file = open(folder)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(folder)),
            Err(TryLockError::Error(e)) => return Err(cannot(folder, e)),
        }
        let claim = Self { _file: file };
        // Looked at only now: this process does not have the folder open, so that closing the file takes no lock from it.
        if is_open_in_lmdb(folder) { Err(in_use(folder)) } else { Ok(claim) }
    }
}

fn open(folder: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(folder.join(preflight::CLAIM)).map_err(|e| cannot(folder, e))
}

fn in_use(folder: &Path) -> Error {
    let message =
        "the store of this folder is open; close it in every process that has it open, this one too, then try again";
    Error::new(ErrorKind::Conflict, message).with("folder", folder.display())
}

fn cannot(folder: &Path, cause: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the folder of the store cannot be locked; check its path and permissions")
        .with("folder", folder.display())
        .caused_by(cause)
}

/// Whether another process has the file of locks of LMDB open: a program that knows nothing of claims.
fn is_open_in_lmdb(folder: &Path) -> bool {
    // What cannot be opened for writing cannot have been opened by LMDB.
    let Ok(locks) = OpenOptions::new().read(true).write(true).open(folder.join(preflight::LOCK)) else { return false };
    // LMDB keeps the first byte locked, see `mdb_env_excl_lock`.
    let first = Flock { length: 1, ..Flock::from(FlockType::WriteLock) };
    matches!(fcntl_getlk(&locks, &first), Ok(Some(_)))
}

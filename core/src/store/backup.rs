//! Copies of a whole store: taken while it is in use, put back, and put in its own place without the space that is free.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{CheckReport, SCHEMA_VERSION, Store, claim::Claim, environment, part::Part, preflight, walk};
use crate::{
    error::{Error, ErrorKind, Result},
    runtime::blocking,
};

/// What compacting a store gave back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Compacted {
    /// Bytes of the file before.
    pub before: u64,
    /// Bytes of the file after.
    pub after: u64,
}

impl Store {
    /// Copies the store, as it is at this moment, into `folder`, without the space that is free in it. Reads and writes
    /// go on meanwhile; only growth of the file waits. The copy is a store that can be opened.
    ///
    /// # Errors
    /// `Conflict` when there is a store in `folder`, `Unavailable` when it cannot be written.
    pub async fn backup_to(&self, folder: &Path) -> Result<()> {
        let (store, folder) = (self.clone(), folder.to_owned());
        blocking(move || backup_into(&folder, |file| store.0.environment.copy_to(file))).await
    }
}

/// Copies the store in `folder` into `target` as [`Store::backup_to`] does, and reads all of the copy. It does not open
/// the store, so that one of another version is copied as it is. Blocks.
///
/// # Errors
/// `NotFound` when there is no store in `folder`, `Conflict` when there is one in `target`, `Corrupt` when its file is
/// damaged, `Unavailable` when the copy cannot be written.
pub fn backup(folder: &Path, target: &Path) -> Result<CheckReport> {
    let folder = existing(folder)?;
    backup_into(target, |file| {
        if let Some(store) = environment::opened_here(&folder) {
            return store.0.environment.copy_to(file);
        }
        preflight::check(&folder)?;
        let _claim = Claim::shared(&folder)?;
        environment::copy_closed(&folder, file)
    })?;
    // A copy that cannot be read is none.
    sound(&target.join(preflight::DATA))
}

fn backup_into(target: &Path, copy: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    preflight::make_folder(target)?;
    let occupied = |error: Error| if error.kind() == ErrorKind::Conflict { has_store(target) } else { error };
    let _claim = Claim::alone(target).map_err(occupied)?;
    if target.join(preflight::DATA).exists() {
        return Err(has_store(target));
    }
    let mut part = Part::begin(target)?;
    copy(part.file())?;
    part.place()
}

fn has_store(folder: &Path) -> Error {
    Error::new(ErrorKind::Conflict, "there is a store in this folder; choose an empty one")
        .with("folder", folder.display())
}

/// Puts `backup`, a folder that [`Store::backup_to`] filled or the file in it, into `folder`. All of it is read first; the
/// store that was in `folder` stays as it is until the new one is whole. Gives what was read. Blocks.
///
/// # Errors
/// `NotFound` when there is no backup; `Corrupt` when it is damaged or no store of triune; `Unsupported` when a newer
/// triune made it; `Conflict` when `folder` has a store and `replace` is not set, or when somebody has either open;
/// `Unavailable` when it cannot be read or written.
pub fn restore(backup: &Path, folder: &Path, replace: bool) -> Result<CheckReport> {
    let (source, _source_claim) = source_of(backup)?;
    preflight::make_folder(folder)?;
    preflight::check(folder)?;
    let target = folder.join(preflight::DATA);
    if !replace && target.exists() {
        let message = "there is a store in this folder; choose an empty one, or say that it is to be replaced";
        return Err(Error::new(ErrorKind::Conflict, message).with("folder", folder.display()));
    }
    let _claim = Claim::alone(folder)?;
    if is_same(&source, &target) {
        return Err(Error::invalid("the backup is the store of the folder itself; choose another folder"));
    }
    let mut part = Part::begin(folder)?;
    let mut file = File::open(&source).map_err(|e| unreadable(&source, e))?;
    part.copy_from(&mut file)?;
    // The copy, not the backup: it is what will be opened.
    let report = sound(part.path())?;
    part.place()?;
    Ok(report)
}

/// Writes the store in `folder` anew, without the space that is free in it, and puts it in its place. Nobody may have it
/// open. What is there stays whole whenever this is interrupted. Needs as much room on the disk as the store. Blocks.
///
/// # Errors
/// `NotFound` when there is no store; `Conflict` when somebody has it open; `Corrupt` when it is damaged; `Unavailable`
/// when the copy cannot be written.
pub fn compact(folder: &Path) -> Result<Compacted> {
    let folder = existing(folder)?;
    preflight::check(&folder)?;
    let _claim = Claim::alone(&folder)?;
    let data = folder.join(preflight::DATA);
    // Read without mapping it, since copying a damaged page can end the process.
    let before = readable(&data)?;
    let mut part = Part::begin(&folder)?;
    environment::copy_closed(&folder, part.file())?;
    let after = readable(part.path())?;
    if before != after {
        return Err(Error::unexpected("the compacted store holds something else than the store; nothing was changed"));
    }
    let sizes = Compacted { before: length(&data)?, after: length(part.path())? };
    part.place()?;
    Ok(sizes)
}

/// The folder, which has a store.
fn existing(folder: &Path) -> Result<PathBuf> {
    if !folder.join(preflight::DATA).exists() {
        return Err(preflight::no_store(folder));
    }
    fs::canonicalize(folder).map_err(|e| unreadable(folder, e))
}

/// The file of a backup. Whoever has it open would change it while it is copied.
fn source_of(backup: &Path) -> Result<(PathBuf, Option<Claim>)> {
    let file = if backup.is_dir() { backup.join(preflight::DATA) } else { backup.to_owned() };
    if !file.is_file() {
        let message = "there is no backup here; give the folder, or the file in it, that a backup was made into";
        return Err(Error::not_found(message).with("backup", backup.display()));
    }
    // A backup on a medium that cannot be written has nobody who has it open.
    let opened = file.parent().filter(|folder| folder.join(preflight::CLAIM).exists());
    match opened.map(Claim::alone) {
        Some(Err(error)) if error.kind() == ErrorKind::Conflict => {
            let message = "the backup is open as a store; close it, or make a copy of it by `triune backup`";
            Err(Error::new(ErrorKind::Conflict, message).with("backup", backup.display()))
        }
        Some(Ok(claim)) => Ok((file, Some(claim))),
        _ => Ok((file, None)),
    }
}

/// What was read of the file at `path`, which is whole and of a version that can be opened.
fn sound(path: &Path) -> Result<CheckReport> {
    let found = walk::read_all(path)?;
    if let Some(problem) = found.report.problems.first() {
        let message = "the backup is damaged or no store; take another one";
        return Err(Error::new(ErrorKind::Corrupt, message)
            .with("damaged", found.report.damaged)
            .with("first", problem));
    }
    match found.schema {
        Some(version) if version <= SCHEMA_VERSION => Ok(found.report),
        Some(version) => Err(Error::new(
            ErrorKind::Unsupported,
            "the backup was made by a newer version of triune; update triune to restore it",
        )
        .with("backup_schema", version)
        .with("known_schema", SCHEMA_VERSION)),
        None => Err(Error::new(ErrorKind::Corrupt, "the backup is no store of triune; check its path")),
    }
}

/// As [`sound`] for a store of any version.
fn readable(path: &Path) -> Result<CheckReport> {
    let found = walk::read_all(path)?.report;
    match found.problems.first() {
        Some(problem) => Err(Error::new(
            ErrorKind::Corrupt,
            "the store is damaged; see `triune check`, and restore the folder from a backup",
        )
        .with("damaged", found.damaged)
        .with("first", problem)),
        None => Ok(found),
    }
}

fn is_same(a: &Path, b: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

fn length(path: &Path) -> Result<u64> {
    fs::metadata(path).map(|found| found.len()).map_err(|e| unreadable(path, e))
}

fn unreadable(path: &Path, cause: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "a file of a store cannot be read; check its path and permissions")
        .with("path", path.display())
        .caused_by(cause)
}

//! A copy of the whole store, taken while it is in use.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::{Store, preflight};
use crate::{
    error::{Error, ErrorKind, Result},
    runtime::blocking,
};

impl Store {
    /// Copies the store, as it is at this moment, into `folder`, without the space that is free in it. Reads and writes
    /// go on meanwhile; only growth of the file waits. The copy is a store that can be opened.
    ///
    /// # Errors
    /// `Conflict` when there is a store in `folder`, `Unavailable` when it cannot be written.
    pub async fn backup_to(&self, folder: &Path) -> Result<()> {
        let (store, folder) = (self.clone(), folder.to_owned());
        blocking(move || store.backup_here(&folder)).await
    }

    fn backup_here(&self, folder: &Path) -> Result<()> {
        preflight::make_folder(folder)?;
        let (target, part) = (folder.join(preflight::DATA), folder.join("data.mdb.part"));
        let failed = |e: std::io::Error| {
            Error::new(ErrorKind::Unavailable, "the backup cannot be written; check space and permissions")
                .with("folder", folder.display())
                .caused_by(e)
        };
        if target.exists() {
            return Err(Error::new(ErrorKind::Conflict, "there is a store in this folder; choose an empty one")
                .with("folder", folder.display()));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&part).map_err(failed)?;
        self.0.environment.copy_to(&mut file)?;
        file.sync_all().map_err(failed)?;
        // A half-written copy never bears the name of a store.
        fs::rename(&part, &target).map_err(failed)?;
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

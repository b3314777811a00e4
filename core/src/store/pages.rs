//! Checks, without mapping it, that a file of LMDB is as long as its newest meta page says.
//!
//! Layout of LMDB 0.9, `mdb.c`: the first two pages are meta pages; the valid one with the higher transaction counts.
//! A page has a header of 16 bytes: number u64, key size u16, flags u16, lower u16, upper u16; then u16 offsets of its
//! nodes. Numbers are in the order of the machine.

use std::{
    collections::HashSet,
    fs::File,
    io::{Error as IoError, ErrorKind as IoErrorKind},
    os::unix::fs::FileExt,
    path::Path,
};

use crate::error::{Error, ErrorKind, Result};

pub(super) const HEADER: usize = 16;
const MAGIC: u32 = 0xBEEF_C0DE;
const VERSION: u32 = 1;
pub(super) const NO_PAGE: u64 = u64::MAX;
pub(super) const FLAG_BRANCH: u16 = 0x01;
pub(super) const FLAG_LEAF: u16 = 0x02;
const FLAG_META: u16 = 0x08;
pub(super) const NODE_BIG: u16 = 0x01;
/// Other processes may write while we look: then we look again.
const LOOKS: usize = 10;

/// What a meta page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) page_size: u64,
    pub(super) free_root: u64,
    pub(super) free_entries: u64,
    pub(super) main_root: u64,
    pub(super) main_entries: u64,
    pub(super) last_page: u64,
    /// Flags of the list of free pages, and of the table of tables.
    pub(super) flags: [u16; 2],
    transaction: u64,
}

/// Checks the file at `path`, if there is one.
///
/// # Errors
/// `Corrupt` when it is no file of LMDB or shorter than it must be.
pub(super) fn check(path: &Path) -> Result<()> {
    // Word sizes are part of the layout, and every platform we build for has these.
    if cfg!(not(target_pointer_width = "64")) {
        return Ok(());
    }
    let unreadable = |e: IoError| {
        Error::new(ErrorKind::Unavailable, "the file of the store cannot be read; check its permissions")
            .with("file", path.display())
            .caused_by(e)
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == IoErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(unreadable(e)),
    };
    // Nothing was ever written: LMDB begins anew.
    if file.metadata().map_err(unreadable)?.len() == 0 {
        return Ok(());
    }
    let mut fault = String::new();
    for _ in 0..LOOKS {
        let meta = newest_meta(&file);
        // The length is read after the meta page: a writer makes the file longer first, then writes the meta page.
        let length = file.metadata().map_err(unreadable)?.len();
        match meta.and_then(|meta| is_whole(&file, &meta, length)) {
            Ok(()) => return Ok(()),
            Err(found) => fault = found,
        }
    }
    Err(Error::new(
        ErrorKind::Corrupt,
        "the file of the store is damaged or is not one; restore it from a backup, or remove it to begin anew",
    )
    .with("file", path.display())
    .with("fault", fault))
}

pub(super) fn newest_meta(file: &File) -> Result<Meta, String> {
    let first = read_meta(file, 0)?;
    let second = read_meta(file, first.page_size)?;
    if first.page_size != second.page_size {
        return Err("the two meta pages differ in page size".into());
    }
    Ok(if second.transaction > first.transaction { second } else { first })
}

fn read_meta(file: &File, at: u64) -> Result<Meta, String> {
    let mut page = [0; HEADER + 136];
    file.read_exact_at(&mut page, at).map_err(|_| "the file is shorter than its two meta pages")?;
    let bad = || "a meta page is not one of LMDB".to_owned();
    let word = |at: usize| u32_at(&page, HEADER + at).ok_or_else(bad);
    let long = |at: usize| u64_at(&page, HEADER + at).ok_or_else(bad);
    let short = |at: usize| u16_at(&page, HEADER + at).ok_or_else(bad);
    let flags = u16_at(&page, 10).ok_or_else(bad)?;
    if flags & FLAG_META == 0 || word(0)? != MAGIC || word(4)? != VERSION {
        return Err(bad());
    }
    let page_size = u64::from(word(24)?);
    if !page_size.is_power_of_two() || !(512..=32_768).contains(&page_size) {
        return Err(format!("the page size is {page_size}"));
    }
    Ok(Meta {
        page_size,
        free_root: long(24 + 40)?,
        free_entries: long(24 + 32)?,
        main_root: long(72 + 40)?,
        main_entries: long(72 + 32)?,
        flags: [short(24 + 4)?, short(72 + 4)?],
        last_page: long(120)?,
        transaction: long(128)?,
    })
}

fn is_whole(file: &File, meta: &Meta, length: u64) -> Result<(), String> {
    for root in [meta.free_root, meta.main_root] {
        if root != NO_PAGE && !(2..=meta.last_page).contains(&root) {
            return Err(format!("the root of a tree is page {root} of {}", meta.last_page));
        }
    }
    let there = length / meta.page_size;
    let needed = meta.last_page.checked_add(1).ok_or("the number of pages is too large")?;
    if there >= needed {
        return Ok(());
    }
    // LMDB does not write pages at the end that were used and freed in one transaction. All that are not there must be
    // on the list of free pages.
    let fault = format!("the file has {length} bytes and should have {}", needed.saturating_mul(meta.page_size));
    let free = free_pages_from(file, meta, there).ok_or_else(|| fault.clone())?;
    if (there..needed).all(|page| free.contains(&page)) { Ok(()) } else { Err(fault) }
}

/// The free pages from number `from` on; none when the list cannot be read.
fn free_pages_from(file: &File, meta: &Meta, from: u64) -> Option<HashSet<u64>> {
    let mut free = HashSet::new();
    let mut waiting = if meta.free_root == NO_PAGE { Vec::new() } else { vec![meta.free_root] };
    let mut left = meta.last_page;
    while let Some(number) = waiting.pop() {
        // A damaged tree may have a ring.
        left = left.checked_sub(1)?;
        let page = read_at(file, number.checked_mul(meta.page_size)?, usize::try_from(meta.page_size).ok()?)?;
        let flags = u16_at(&page, 10)?;
        let nodes = usize::from(u16_at(&page, 12)?).checked_sub(HEADER)? / 2;
        for node in 0..nodes {
            let at = usize::from(u16_at(&page, HEADER + 2 * node)?);
            let (low, high) = (u16_at(&page, at)?, u16_at(&page, at + 2)?);
            let (node_flags, key) = (u16_at(&page, at + 4)?, u16_at(&page, at + 6)?);
            let size = u64::from(low) | u64::from(high) << 16;
            if flags & FLAG_BRANCH != 0 {
                waiting.push(size | u64::from(node_flags) << 32);
            } else if flags & FLAG_LEAF != 0 {
                let (data, size) = (at + 8 + usize::from(key), usize::try_from(size).ok()?);
                let list = if node_flags & NODE_BIG == 0 {
                    page.get(data..data.checked_add(size)?)?.to_vec()
                } else {
                    let big = u64_at(&page, data)?.checked_mul(meta.page_size)?.checked_add(HEADER as u64)?;
                    read_at(file, big, size)?
                };
                // A count, then as many page numbers.
                let count = usize::try_from(u64_at(&list, 0)?).ok()?;
                for entry in 1..=count {
                    let number = u64_at(&list, entry.checked_mul(8)?)?;
                    if number >= from {
                        free.insert(number);
                    }
                }
            } else {
                return None;
            }
        }
    }
    Some(free)
}

pub(super) fn read_at(file: &File, at: u64, size: usize) -> Option<Vec<u8>> {
    // Never more memory than there is file.
    if at.checked_add(size as u64)? > file.metadata().ok()?.len() {
        return None;
    }
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

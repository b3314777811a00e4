//! Reads every page and every value of a file of LMDB without mapping it, so that no damage can end the process. For files
//! that nobody writes: a backup, or a store that is held alone.
//!
//! Layout of LMDB 0.9, `mdb.c`, beside what `pages` says of it: a node of a leaf has the size of its value u32, flags u16,
//! the size of its key u16, the key, and the value; a large value has the number of the first of its own pages there, a
//! table its record: pad u32, flags u16, depth u16, three counts of pages u64, entries u64, root u64. A node of a branch has
//! the number of a page in the place of size and flags.

use std::{collections::BTreeMap, fs::File, path::Path};

use roaring::RoaringTreemap;

use super::{
    CheckReport,
    pages::{self, FLAG_BRANCH, FLAG_LEAF, HEADER, Meta, NO_PAGE, NODE_BIG, read_at, u16_at, u32_at, u64_at},
    table,
    tables::Tables,
};
use crate::error::{Error, ErrorKind, Result};

const FLAG_OVERFLOW: u16 = 0x04;
/// Keys of the list of free pages are numbers in the order of the machine: the only flag we use.
const FREE_FLAGS: u16 = 0x08;
const NODE_TABLE: u16 = 0x02;
const NODE_SEVERAL: u16 = 0x04;
/// Pages from the root of a tree to its leaves at most, as in LMDB.
const MAX_DEPTH: usize = 32;
/// Bytes of the record of a table.
const TABLE: usize = 48;

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Rows, and what is damaged.
    pub(super) report: CheckReport,
    /// The version of the layout; none in a file that is no store of triune.
    pub(super) schema: Option<u32>,
}

/// Reads all of the file at `path`.
///
/// # Errors
/// `Unavailable` when it cannot be read; damage is what it finds.
pub(super) fn read_all(path: &Path) -> Result<Found> {
    let file = File::open(path).map_err(|e| {
        Error::new(ErrorKind::Unavailable, "the file of a store cannot be read; check its permissions")
            .with("file", path.display())
            .caused_by(e)
    })?;
    let mut found = Found { report: CheckReport { ok: true, ..CheckReport::default() }, schema: None };
    match pages::newest_meta(&file) {
        Ok(meta) => Walk { file: &file, meta, seen: RoaringTreemap::new() }.all(&mut found),
        Err(fault) => found.report.problem(|| fault),
    }
    Ok(found)
}

/// A tree: a table, the table of tables, or the list of free pages.
#[derive(Clone, Copy, Debug)]
struct Tree {
    root: u64,
    entries: u64,
    ordered: bool,
}

/// What stands in a leaf.
enum Leaf<'a> {
    Value(&'a [u8]),
    Table(Tree),
}

type Fault = String;
/// Takes the key and what stands under it.
type Take<'t> = &'t mut dyn FnMut(&[u8], Leaf<'_>) -> Result<(), Fault>;

struct Walk<'f> {
    file: &'f File,
    meta: Meta,
    /// Pages that were read: none has a place in two trees.
    seen: RoaringTreemap,
}

/// Where a walk through one tree is.
#[derive(Default)]
struct Place {
    /// The last key that was read.
    last: Option<Vec<u8>>,
    /// No key that follows may be before it.
    least: Vec<u8>,
    entries: u64,
}

impl Walk<'_> {
    fn all(&mut self, found: &mut Found) {
        if self.meta.flags != [FREE_FLAGS, 0] {
            found.report.problem(|| "the newest meta page has flags that are not ours".into());
        }
        let mut tables: BTreeMap<String, Tree> = BTreeMap::new();
        let main = Tree { root: self.meta.main_root, entries: self.meta.main_entries, ordered: true };
        let listed = self.tree(main, &mut |name, leaf| {
            let Leaf::Table(table) = leaf else { return Err("a value stands among the tables".into()) };
            tables.insert(String::from_utf8_lossy(name).into_owned(), table);
            Ok(())
        });
        if let Err(fault) = listed {
            found.report.problem(|| format!("the list of tables: {fault}"));
        }
        for (name, table) in tables {
            self.table(&name, table, found);
        }
        let free = Tree { root: self.meta.free_root, entries: self.meta.free_entries, ordered: false };
        let mut lists: Vec<u64> = Vec::new();
        let read = self.tree(free, &mut |_, leaf| {
            let Leaf::Value(list) = leaf else { return Err("a table stands in it".into()) };
            let numbers = list.as_chunks::<8>().0.iter().map(|bytes| u64::from_ne_bytes(*bytes));
            if u64_at(list, 0).is_none_or(|count| (list.len() / 8 - 1) as u64 != count) {
                return Err("a list has another length than it says".into());
            }
            lists.extend(numbers.skip(1));
            Ok(())
        });
        let in_use = lists.iter().find(|page| **page > self.meta.last_page || self.seen.contains(**page));
        match (read, in_use) {
            (Err(fault), _) => found.report.problem(|| format!("the list of free pages: {fault}")),
            (Ok(()), Some(page)) => {
                found.report.problem(|| format!("the list of free pages has page {page}, which is in use"));
            }
            (Ok(()), None) => {}
        }
    }

    fn table(&mut self, name: &str, table: Tree, found: &mut Found) {
        let (mut sound, mut at) = (0, 0_u64);
        let Found { report, schema } = found;
        let walked = self.tree(table, &mut |key, leaf| {
            match leaf {
                // Those of arroy bear no checksum.
                Leaf::Value(stored) if name == Tables::ANN || table::is_sound(key, stored) => {
                    if (name, key) == ("meta", b"schema") {
                        let value = stored.get(..stored.len() - table::CHECKSUM).unwrap_or_default();
                        *schema = serde_json::from_slice(value).ok();
                    }
                    sound += 1;
                }
                Leaf::Value(_) => report.problem(|| format!("table {name}, row {at}: a stored value is damaged")),
                Leaf::Table(_) => return Err("a table stands among its rows".into()),
            }
            at += 1;
            Ok(())
        });
        if let Err(fault) = walked {
            report.problem(|| format!("table {name}, after row {at}: {fault}"));
        }
        report.rows.insert(name.to_owned(), sound);
    }

    /// Gives every row of `tree` to `take`, in order.
    fn tree(&mut self, tree: Tree, take: Take<'_>) -> Result<(), Fault> {
        let mut place = Place::default();
        if tree.root != NO_PAGE {
            self.page(tree.root, tree.ordered, 1, &mut place, take)?;
        }
        if place.entries == tree.entries {
            Ok(())
        } else {
            Err(format!("it has {} rows and should have {}", place.entries, tree.entries))
        }
    }

    fn page(
        &mut self,
        number: u64,
        ordered: bool,
        depth: usize,
        place: &mut Place,
        take: Take<'_>,
    ) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err("its tree is too deep".into());
        }
        self.enter(number, 1)?;
        let size = self.page_size();
        let page = self.at(number, 0, size)?;
        let malformed = || format!("page {number} is malformed");
        let (flags, lower) = (u16_at(&page, 10).ok_or_else(malformed)?, u16_at(&page, 12).ok_or_else(malformed)?);
        let branch = match flags & (FLAG_BRANCH | FLAG_LEAF | FLAG_OVERFLOW) {
            FLAG_BRANCH => true,
            FLAG_LEAF => false,
            _ => return Err(malformed()),
        };
        let nodes = usize::from(lower).checked_sub(HEADER).ok_or_else(malformed)? / 2;
        if u64_at(&page, 0) != Some(number) || HEADER + 2 * nodes > size || (branch && nodes == 0) {
            return Err(malformed());
        }
        for node in 0..nodes {
            let at = u16_at(&page, HEADER + 2 * node).map(usize::from).ok_or_else(malformed)?;
            let node_at = page.get(at..).ok_or_else(malformed)?;
            let (Some(size), Some(flags), Some(key)) = (u32_at(node_at, 0), u16_at(node_at, 4), u16_at(node_at, 6))
            else {
                return Err(malformed());
            };
            let key = node_at.get(8..8 + usize::from(key)).ok_or_else(malformed)?;
            let rest = &node_at[8 + key.len()..];
            if branch {
                // The first child has whatever is before the second.
                if node > 0 && ordered {
                    if place.last.as_deref().is_some_and(|last| key <= last) {
                        return Err(format!("page {number} is out of order"));
                    }
                    place.least = key.to_vec();
                }
                let child = u64::from(size) | u64::from(flags) << 32;
                self.page(child, ordered, depth + 1, place, take)?;
                continue;
            }
            if ordered && (key < place.least.as_slice() || place.last.as_deref().is_some_and(|last| key <= last)) {
                return Err(format!("page {number} is out of order"));
            }
            self.leaf((flags, size), rest, key, take).map_err(|fault| format!("page {number}: {fault}"))?;
            place.last = Some(key.to_vec());
            place.entries += 1;
        }
        Ok(())
    }

    /// Gives one row to `take`.
    fn leaf(&mut self, (flags, size): (u16, u32), rest: &[u8], key: &[u8], take: Take<'_>) -> Result<(), Fault> {
        let size = size as usize;
        if flags & NODE_SEVERAL != 0 {
            return Err("a key has several values".into());
        }
        if flags & NODE_BIG != 0 {
            let first = u64_at(rest, 0).ok_or("a value has no place")?;
            return take(key, Leaf::Value(&self.big(first, size)?));
        }
        let value = rest.get(..size).ok_or("a value ends outside of it")?;
        if flags & NODE_TABLE == 0 {
            return take(key, Leaf::Value(value));
        }
        let record = || {
            let (flags, entries, root) = (u16_at(value, 4)?, u64_at(value, 32)?, u64_at(value, 40)?);
            // We make no tables of other flags, by which their pages would mean something else.
            (size == TABLE && flags == 0).then_some(Tree { root, entries, ordered: true })
        };
        take(key, Leaf::Table(record().ok_or("the record of a table is malformed")?))
    }

    /// A value on pages of its own, of which only the first has a header.
    fn big(&mut self, first: u64, size: usize) -> Result<Vec<u8>, Fault> {
        let malformed = || format!("page {first} is malformed");
        let needed = (HEADER + size).div_ceil(self.page_size());
        self.enter(first, needed as u64)?;
        let header = self.at(first, 0, HEADER)?;
        let (flags, pages) = (u16_at(&header, 10), u32_at(&header, 12));
        let is_one = flags.is_some_and(|flags| flags & (FLAG_BRANCH | FLAG_LEAF | FLAG_OVERFLOW) == FLAG_OVERFLOW);
        if !is_one || u64_at(&header, 0) != Some(first) || pages.is_none_or(|pages| (pages as usize) < needed) {
            return Err(malformed());
        }
        self.at(first, HEADER as u64, size)
    }

    /// Notes that `count` pages from `first` on are in use.
    fn enter(&mut self, first: u64, count: u64) -> Result<(), Fault> {
        let end = first.checked_add(count).filter(|end| first >= 2 && end - 1 <= self.meta.last_page);
        let end = end.ok_or_else(|| format!("page {first} is outside of the file"))?;
        if self.seen.insert_range(first..end) == count { Ok(()) } else { Err(format!("page {first} is used twice")) }
    }

    fn page_size(&self) -> usize {
        self.meta.page_size as usize
    }

    fn at(&self, page: u64, offset: u64, size: usize) -> Result<Vec<u8>, Fault> {
        let at = page.checked_mul(self.meta.page_size).and_then(|at| at.checked_add(offset));
        at.and_then(|at| read_at(self.file, at, size)).ok_or_else(|| format!("page {page} cannot be read"))
    }
}

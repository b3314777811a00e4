//! Namespaces: names to numbers, and what is true of all items in one.

use serde::{Deserialize, Serialize};

use super::index::{Forest, Lists};
use crate::{
    context::Context,
    error::{Error, ErrorKind, Result},
    model::EmbedderProfile,
    store::{Read, Write},
};

/// Bytes of a namespace, an id or the name of a node at most: they are parts of keys.
pub(super) const MAX_NAME: usize = 256;

/// The form of the rows of a namespace that this version writes.
pub(super) const FORM: u32 = 3;

/// What embedded a namespace whose vectors were given by the caller.
pub(super) const GIVEN: &str = "given";

/// Keys of `namespaces` that are not names: a name has no NUL.
const NEXT_NAMESPACE: &[u8] = b"\0next";
const NEXT_INDEX: &[u8] = b"\0next-index";

/// A namespace, as stored in `namespaces`.
#[expect(clippy::struct_excessive_bools, reason = "each says that something is there that has to be looked at")]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Namespace {
    /// Its number: the beginning of its keys.
    pub(super) ns: u32,
    /// The number of its next item. Numbers are never used again.
    #[serde(default)]
    pub(super) next: u32,
    /// Items it has.
    #[serde(default)]
    pub(super) items: u64,
    /// Bytes of their records, and of versions that were replaced, as stored; none in a namespace that an older version
    /// wrote, until its next change.
    #[serde(default)]
    pub(super) bytes: Option<u64>,
    /// Items that have a vector.
    #[serde(default)]
    pub(super) vectors: u64,
    /// What made its vectors; none as long as it has none.
    #[serde(default)]
    pub(super) embedder: Option<String>,
    /// Length of its vectors; 0 as long as it has none.
    #[serde(default)]
    pub(super) dimensions: usize,
    /// All items before this one that have a vector have a code: see `index`.
    #[serde(default)]
    pub(super) coded: u32,
    /// So many vectors the mean is of, around which the codes are made; 0 as long as there are none.
    #[serde(default)]
    pub(super) sampled: u64,
    /// How often another mean was taken.
    #[serde(default)]
    pub(super) mean: u32,
    /// Its lists of codes, once it has them.
    #[serde(default)]
    pub(super) lists: Option<Lists>,
    /// The last version of lists that was begun.
    #[serde(default)]
    pub(super) lists_version: u32,
    /// Lists of versions up to this one were removed, but for those that serve: who still builds such is too late.
    #[serde(default)]
    pub(super) lists_cleared: u32,
    /// Its forest, once it has one.
    #[serde(default)]
    pub(super) forest: Option<Forest>,
    /// An index in arroy's table that does not serve: one that is being built, or is to be removed.
    #[serde(default)]
    pub(super) ann: Option<u16>,
    /// Until when it is being built, in milliseconds since the Unix epoch; then it is to be removed.
    #[serde(default)]
    pub(super) ann_until_ms: u64,
    /// Whether some items follow others, in a session or as passages of a text.
    #[serde(default)]
    pub(super) linked: bool,
    /// Whether some items do not hold, or live, for ever.
    #[serde(default)]
    pub(super) bounded: bool,
    /// Whether it was said of some items how much they matter.
    #[serde(default)]
    pub(super) weighed: bool,
    /// Whether versions of items were replaced.
    #[serde(default)]
    pub(super) has_past: bool,
    /// The number under which its vectors, codes and lists are; its own when absent. See `reembed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) vectors_under: Option<u32>,
    /// Its vectors by another embedder, as far as they are made: of all items before its `next`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shadow: Option<Box<Namespace>>,
    /// In which form its items are: see `migrate`.
    #[serde(default)]
    pub(super) form: u32,
    /// The first item that has not the rows of this form yet, while it is brought to it.
    #[serde(default)]
    pub(super) migrated: Option<u32>,
}

impl Namespace {
    /// The beginning of its keys.
    pub(super) fn prefix(&self) -> [u8; 4] {
        self.ns.to_be_bytes()
    }

    /// The key of `item`.
    pub(super) fn item_key(&self, item: u32) -> [u8; 8] {
        let mut key = [0; 8];
        key[..4].copy_from_slice(&self.prefix());
        key[4..].copy_from_slice(&item.to_be_bytes());
        key
    }

    /// The beginning of the keys of its vectors, codes and lists.
    pub(super) fn vector_prefix(&self) -> [u8; 4] {
        self.vectors_under.unwrap_or(self.ns).to_be_bytes()
    }

    /// The key of `item` in the tables of vectors, codes and lists.
    pub(super) fn vector_key(&self, item: u32) -> [u8; 8] {
        let mut key = [0; 8];
        key[..4].copy_from_slice(&self.vector_prefix());
        key[4..].copy_from_slice(&item.to_be_bytes());
        key
    }

    /// Whether its texts are being embedded by `embedder`, whose vectors do not serve yet.
    pub(super) fn is_becoming(&self, embedder: &str) -> bool {
        self.shadow.as_ref().is_some_and(|shadow| shadow.embedder.as_deref() == Some(embedder))
    }

    /// The key of `id` in `ids`.
    pub(super) fn id_key(&self, id: &str) -> Vec<u8> {
        [&self.prefix(), id.as_bytes()].concat()
    }

    /// Counts `after` bytes in the place of `before`.
    pub(super) fn count_bytes(&mut self, before: u64, after: u64) {
        self.bytes = self.bytes.map(|bytes| bytes.saturating_add(after).saturating_sub(before));
    }

    /// Takes the number of a new item.
    pub(super) fn take_item(&mut self) -> Result<u32> {
        let item = self.next;
        self.next = item.checked_add(1).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "a namespace takes 4,294,967,295 items in its life; use another one")
        })?;
        Ok(item)
    }

    /// Checks that vectors of `embedder` fit those there are, or makes it the one they all must come from.
    pub(super) fn admit(&mut self, embedder: &str, dimensions: usize) -> Result<()> {
        let Some(known) = &self.embedder else {
            self.embedder = Some(embedder.to_owned());
            self.dimensions = dimensions;
            return Ok(());
        };
        // Who gives vectors answers for their being of the embedder of the namespace.
        if known != embedder && embedder != GIVEN {
            return Err(self.foreign(embedder));
        }
        self.fits(dimensions)
    }

    /// Checks that its vectors fit those of an embedder, or that they are to be made anew by it.
    pub(super) fn takes(&self, embedder: &EmbedderProfile) -> Result<()> {
        match &self.embedder {
            None => Ok(()),
            Some(_) if self.is_becoming(&embedder.id) => Ok(()),
            Some(id) if *id != embedder.id => Err(self.foreign(&embedder.id)),
            Some(_) => self.fits(embedder.dimensions),
        }
    }

    /// Checks the length of a vector.
    pub(super) fn fits(&self, dimensions: usize) -> Result<()> {
        if self.dimensions == 0 || dimensions == self.dimensions {
            return Ok(());
        }
        Err(Error::invalid(
            "the vectors of a namespace have one length; give one of that length, or use another namespace",
        )
        .with("given", dimensions)
        .with("expected", self.dimensions))
    }

    /// The error for a text embedded by another embedder than the vectors of the namespace.
    pub(super) fn foreign(&self, embedder: &str) -> Error {
        let known = self.embedder.as_deref().unwrap_or_default();
        let message = if known == GIVEN {
            "the vectors of this namespace were given by the caller; give a `vector` here too, or use another namespace"
        } else {
            "this namespace was embedded by another embedder; set that one, embed it anew by `reembed`, or use another namespace"
        };
        Error::new(ErrorKind::Conflict, message).with("embedder", embedder).with("namespace_embedder", known)
    }
}

/// Checks a name that becomes a part of a key.
pub(super) fn check_name(what: &'static str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > MAX_NAME || name.contains('\0') {
        let message = format!("a {what} is 1 to {MAX_NAME} bytes of text without NUL");
        return Err(Error::invalid(message).with("bytes", name.len()));
    }
    Ok(())
}

/// Bytes of the name of a tenant at most: with a namespace and what is between them it is a key of LMDB, which has 511.
pub(super) const MAX_TENANT: usize = 511 - 1 - MAX_NAME;

/// The name under which the namespace that a caller calls `name` is stored: that of its tenant, NUL and its own; without a
/// tenant its own. Neither can hold a NUL, so that no tenant can name what is another's.
///
/// # Errors
/// `Invalid` for a name that cannot be.
pub(super) fn scoped(cx: &Context, name: &str) -> Result<String> {
    scoped_as("namespace", cx, name)
}

/// As [`scoped`], of what is called `what` in an error.
pub(super) fn scoped_as(what: &'static str, cx: &Context, name: &str) -> Result<String> {
    check_name(what, name)?;
    let tenant = check_tenant(cx)?;
    Ok(if tenant.is_empty() { name.to_owned() } else { format!("{tenant}\0{name}") })
}

/// The tenant of the call; empty for none.
pub(super) fn check_tenant(cx: &Context) -> Result<&str> {
    if cx.tenant.len() > MAX_TENANT || cx.tenant.contains('\0') {
        let message = format!("the name of a tenant is at most {MAX_TENANT} bytes of text without NUL");
        return Err(Error::invalid(message).with("bytes", cx.tenant.len()));
    }
    Ok(&cx.tenant)
}

/// What the caller calls the namespace that is stored under `scoped`.
pub(super) fn plain(scoped: &str) -> &str {
    scoped.rsplit('\0').next().unwrap_or(scoped)
}

/// The namespace stored under `name`, if there is one.
pub(super) fn find(read: &Read<'_>, name: &str) -> Result<Option<Namespace>> {
    read.tables.namespaces.get_json(read.txn, name.as_bytes())
}

/// The names there are, those of tenants as they are stored.
pub(super) fn all_names(read: &Read<'_>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for key in read.tables.namespaces.keys(read.txn, b"")? {
        let key = key?;
        // Others count numbers.
        if key.first() != Some(&0) {
            names.push(String::from_utf8_lossy(key).into_owned());
        }
    }
    Ok(names)
}

/// What the caller calls the namespaces of its tenant, sorted.
pub(super) fn names(read: &Read<'_>, tenant: &str) -> Result<Vec<String>> {
    Ok(scoped_names(read, tenant)?.iter().map(|name| plain(name).to_owned()).collect())
}

/// The names under which the namespaces of a tenant are stored, sorted.
pub(super) fn scoped_names(read: &Read<'_>, tenant: &str) -> Result<Vec<String>> {
    let prefix = if tenant.is_empty() { String::new() } else { format!("{tenant}\0") };
    let mut names = Vec::new();
    for key in read.tables.namespaces.keys(read.txn, prefix.as_bytes())? {
        let key = key?;
        // Others are of tenants, or count numbers.
        if !key.get(prefix.len()..).unwrap_or_default().contains(&0) {
            names.push(String::from_utf8_lossy(key).into_owned());
        }
    }
    Ok(names)
}

/// The namespace stored under `name`, in a write.
pub(super) fn find_in(write: &Write<'_, '_>, name: &str) -> Result<Option<Namespace>> {
    write.tables.namespaces.get_json(write.txn, name.as_bytes())
}

/// The namespace stored under `name`; a new one when there is none. It is kept by [`keep`].
pub(super) fn find_or_make(write: &mut Write<'_, '_>, name: &str) -> Result<Namespace> {
    if let Some(known) = find_in(write, name)? {
        return Ok(known);
    }
    let ns = take_namespace(write)?;
    let made = Namespace { ns, form: FORM, ..Namespace::default() };
    keep(write, name, &made)?;
    Ok(made)
}

/// Takes a number that no namespace has.
pub(super) fn take_namespace(write: &mut Write<'_, '_>) -> Result<u32> {
    take_number(write, NEXT_NAMESPACE, u32::MAX)
}

/// Writes what is true of the namespace.
pub(super) fn keep(write: &mut Write<'_, '_>, name: &str, namespace: &Namespace) -> Result<()> {
    write.tables.namespaces.put_json(write.txn, name.as_bytes(), namespace)
}

/// Takes a free index of arroy.
pub(super) fn take_index(write: &mut Write<'_, '_>) -> Result<u16> {
    let number = take_number(write, NEXT_INDEX, u32::from(u16::MAX))?;
    u16::try_from(number).map_err(|_| Error::unexpected("the number of a vector index is too large"))
}

fn take_number(write: &mut Write<'_, '_>, counter: &[u8], max: u32) -> Result<u32> {
    let table = write.tables.namespaces;
    let number: u32 = table.get_json(write.txn, counter)?.unwrap_or_default();
    if number >= max {
        return Err(Error::new(
            ErrorKind::Overloaded,
            "the folder has no room for more namespaces; use another folder",
        )
        .retryable(false));
    }
    table.put_json(write.txn, counter, &(number + 1))?;
    Ok(number)
}

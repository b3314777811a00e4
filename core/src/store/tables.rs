//! Every table of the environment and the layout of its keys and values. Keys are big-endian, so that they sort.
//!
//! Each table belongs to one module, which alone reads and writes it; `ns` is a namespace number (u32).

use heed::{CommitOrAbort, Database, Env, WithoutTls, types::Bytes};

use super::{SCHEMA_VERSION, Table, table::StoreResultExt};
use crate::error::{Error, ErrorKind, Result};

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The tables, by name.
        #[derive(Debug)]
        pub(crate) struct Tables {
            $($(#[$doc])* pub(crate) $name: Table,)*
            /// arroy's own table of trees and vectors; arroy gives its values their form, so they bear no checksum:
            /// the vectors that count are those in `vectors`.
            pub(crate) ann: arroy::Database<'static, arroy::distances::Cosine>,
        }

        const NAMES: &[&str] = &[$(stringify!($name),)*];

        impl Tables {
            /// The name of arroy's table.
            pub(super) const ANN: &'static str = "ann";

            fn from_databases(databases: [Database<'static, Bytes, Bytes>; NAMES.len()], ann: arroy::Database<'static, arroy::distances::Cosine>) -> Self {
                let mut databases = databases.into_iter().zip(NAMES).map(|(database, name)| Table { name, database });
                #[allow(clippy::expect_used, reason = "there are as many databases as fields: both come from this macro")]
                Self { $($name: databases.next().expect("one database a table"),)* ann }
            }

            /// Every table that bears checksums, for checking.
            pub(crate) fn checked(&self) -> [&Table; NAMES.len()] {
                [$(&self.$name,)*]
            }
        }
    };
}

tables! {
    /// `store`: name → text. `schema` holds [`SCHEMA_VERSION`].
    meta,
    /// `recall`: name of a namespace, or tenant·0·name → JSON `{ns, next, items, bytes, vectors, embedder, dimensions, coded,
    /// sampled, mean, lists, lists_version, forest, ann, ann_until_ms, linked, bounded, weighed, has_past, vectors_under, shadow,
    /// form, migrated}`;
    /// NUL·`next` and NUL·`next-index` → the next free number of a namespace
    /// and of an index of arroy.
    namespaces,
    /// `recall`: ns·item u32 → JSON record of an item: id, text, metadata, times, provenance; or 1, then the length of the
    /// JSON u32 little-endian, then the JSON as a block of LZ4. Numbers of passages have none.
    items,
    /// `recall`: ns·id (text) → item u32.
    ids,
    /// `recall`: ns·item u32 → f32 little-endian, unit length: vectors that are not in a block of `rows` yet. Here, in `rows`,
    /// `codes` and `lists`, ns is `vectors_under` of the namespace where that is given.
    vectors,
    /// `recall`: ns·first item u32 → which of the following items have a row here (one bit each, from the lowest on), then
    /// the rows: f32 little-endian, unit length. As many items as fit 2 MiB, a power of two from 64 to 1,024. With
    /// `vectors` the truth of which `codes`, `lists` and `ann` are indexes. A forgotten item may keep its row until half
    /// of the block is gone.
    rows,
    /// `recall`: ns → mean of the vectors, f32 little-endian, around which the codes are made; ns·first item u32 → which
    /// of the 1,024 items from it on have a vector (one bit each), then their codes, the signs of vector - mean, in
    /// groups of eight: the first 64 signs of all eight as u64 little-endian, then the next.
    codes,
    /// `recall`: ns·version u32·list u32 → items of the list u32, their numbers u32, little-endian, then their codes in
    /// groups as in `codes`; list `u32::MAX` → the centroids of all, f32 little-endian.
    lists,
    /// `recall`: ns·term (text)·0·first item u32 → up to 128 postings: item u32, how often the term is in it u16, words of
    /// the item u16 (65,535 for more), little-endian, in the order of the items. The key's item may be gone.
    /// A term is a word, or 1 and the normal name of an entity that the item mentions, or 2 and that of what it is about.
    postings,
    /// `recall`: ns → JSON word statistics: items, total length.
    words,
    /// `recall`: ns·item u32 → words of the item u32, little-endian, then its terms, each ended by NUL (to remove postings on forget).
    terms,
    /// `recall`: ns·passage u32 → where it begins and ends in the text of its item, in bytes, u32 little-endian.
    passages,
    /// `recall`: ns·first item u32 → slots of 32 bytes of the 127 items from it on: the item before and the one after in
    /// its session or text, and whose passage it is (`u32::MAX` for none), speaker u32, words u32, importance f32 (NaN for
    /// none), since when it holds or when it was stored i64 (ms), little-endian.
    slots,
    /// `recall`: ns·session → JSON `{last, items}`.
    sessions,
    /// `recall`: ns·words of a speaker's name → items of that speaker u32 little-endian.
    speakers,
    /// `recall`: ns·first item u32 → fingerprints of 16 bytes of the 254 items from it on: see `recall::duplicates`.
    fingerprints,
    /// `recall`: ns·id·0·item u32 → a version that was replaced: when u64 (ms), bytes of its vectors u32, little-endian, its
    /// vectors, then its record as in `items`.
    past,
    /// `recall`: end of the time to live (ms, its sign bit turned) u64·ns·item u32 → name of the namespace·0·id.
    expiry,
    /// `recall`: which items have a fact, a term: 1 byte for the length of a key of metadata and the key, or 253 and its
    /// SHA-256, or 254 and such a name of the engine's own; then the kind of the value (with 128 more for a member of a
    /// list) and the value: an f64 whose bits are in order, and 0 or 1·integer i128; 200 bytes of a text, then 0·0 or
    /// 0·1·SHA-256 of it; the SHA-256 of a list or an object. 252 alone is the term of every item. ns·0·term·(item /
    /// 8,192) u32 → which of these items: nothing when all, else less than 512 positions u16 little-endian, else a bit
    /// each. ns·1·term·item → block of further items in the order of their terms: bytes shared with the term before, and
    /// bytes of the rest of the term (each 7 bits, and 8 more when the highest bit is set), the rest, item u32
    /// little-endian; the lowest block stands under ns·1 alone.
    facets,
    /// `recall`: ns·0·from·0·kind·0·to → JSON edge; ns·1·to·0·kind·0·from → the same edge, backwards.
    edges,
    /// `recall`: store of vectors by the `VectorStore` trait: collection·0 → JSON `{dimensions, items}`; collection·0·id →
    /// numbers of the vector u32, the vector f32 little-endian, of length 1, then JSON metadata. Those of a tenant have
    /// 0·tenant·0 before that.
    collections,
    /// `parallel`: run id → JSON run record: hash of the plan, state, times, owner, fence and lease.
    runs,
    /// `parallel`: run id·0·sequence u64 → JSON journal event; the event of sequence 0 holds the plan.
    journal,
    /// `parallel`: queue·0·`c` → JSON counters; queue·0·`t`·id → JSON task. Indexes whose value is the id:
    /// queue·0·`w`·(inverted priority u32)·arrival u64 of those that wait, queue·0·`d`·(ms u64)·arrival u64 of those
    /// that wait until a time, queue·0·`l`·(ms u64)·arrival u64 of leased ones by the end of the lease.
    queue,
    /// `router`: sequence u64 → JSON ledger entry.
    ledger,
    /// `router`: 0 → JSON totals of the whole ledger; 1·tenant → those of a tenant.
    totals,
    /// `router`: `d`·scope → JSON `BudgetScope`; `s`·scope·start of the period u64 (ms) → JSON `{spent, held}` in nano-dollars;
    /// `h`·number of the hold → JSON of what is held for a call on its way, and by whom. A scope is a SHA-256, a number 16
    /// bytes.
    budgets,
    /// `router`: length of tenant u16·tenant·0·key, or ·1·SHA-256 of a key over 200 bytes → expiry u64 (ms, 0 for
    /// never), then the value.
    cache,
    /// `router`: `r`·length of tenant u16·tenant·reply id → JSON of a reply that may be judged, and until when; `l`·sequence
    /// u64 → JSON `Record` of a judgement; `s` → JSON of what was learned, and from how many judgements.
    learning,
    /// `team`: epic id → JSON record of epic, plan and report; epic id·0·task → JSON record of what the task took.
    epics,
}

/// Opens the tables, making those that are not there, and checks the schema version.
pub(super) fn open(env: &Env<WithoutTls>) -> Result<Tables> {
    let txn = env.write_txn().stored("meta")?;
    let opened = env.create_databases_and_commit(txn, |opener, txn| {
        let mut databases = Vec::with_capacity(NAMES.len());
        for name in NAMES {
            databases.push(opener.create_database::<Bytes, Bytes>(txn, Some(name))?);
        }
        let ann = opener.create_database(txn, Some(Tables::ANN))?;
        let databases: [_; NAMES.len()] =
            databases.try_into().map_err(|_| heed::Error::Io(std::io::ErrorKind::Other.into()))?;
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit((databases, ann)))
    });
    let Some((databases, ann)) = opened.stored("meta")?.commit() else {
        return Err(Error::unexpected("opening the tables was aborted"));
    };
    let tables = Tables::from_databases(databases, ann);
    check_schema(env, &tables)?;
    Ok(tables)
}

fn check_schema(env: &Env<WithoutTls>, tables: &Tables) -> Result<()> {
    let mut txn = env.write_txn().stored("meta")?;
    let found = tables.meta.get_json::<u32>(&txn, b"schema")?;
    match found {
        Some(SCHEMA_VERSION) => return Ok(()),
        // Version 1 had each vector under a key of its own: where it is still, until the index moves it into a block. Versions
        // 1 and 2 had each posting under a key of its own: `recall` writes them anew before it is first used.
        None | Some(1 | 2) => tables.meta.put_json(&mut txn, b"schema", &SCHEMA_VERSION)?,
        Some(other) => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "this folder was written by another version of triune; update triune to open it",
            )
            .with("folder_schema", other)
            .with("known_schema", SCHEMA_VERSION));
        }
    }
    txn.commit().stored("meta")
}

//! The open environment: one per folder and process, a map that grows, reads in a snapshot.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, TryLockError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use heed::{CompactionOption, Env, EnvFlags, EnvOpenOptions, RwTxn, WithoutTls};

use super::{
    Durability, Opened, Read, Store, StoreConfig,
    claim::Claim,
    pages, preflight, scratch,
    statistics::pages_of,
    table::{StoreResultExt, is_map_resized, is_readers_full},
    tables::{self, Tables},
};
use crate::error::{Error, ErrorKind, Result};

/// Tables LMDB may hold.
const MAX_TABLES: u32 = 64;
/// Reads at once, over all processes.
const MAX_READERS: u32 = 1024;
/// How long new transactions hold back for a resize, and how long it then lets them pass before it tries again.
const HOLD_BACK: Duration = Duration::from_millis(5);
const LET_PASS: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Environment {
    folder: PathBuf,
    tables: Tables,
    env: Env<WithoutTls>,
    // Given back last: until then nobody replaces the file that is mapped.
    _claim: Claim,
    /// Held for reading by every transaction, for writing while the map is resized: LMDB moves the map under them.
    resize: RwLock<()>,
    /// A resize waits for a moment without transactions: new ones hold back a little.
    resizing: AtomicBool,
}

/// The stores of this process: LMDB forbids to open a folder twice in one process.
fn opened() -> &'static Mutex<HashMap<PathBuf, Weak<Opened>>> {
    static OPENED: OnceLock<Mutex<HashMap<PathBuf, Weak<Opened>>>> = OnceLock::new();
    OPENED.get_or_init(Mutex::default)
}

pub(super) fn open_shared(folder: &Path, config: &StoreConfig) -> Result<Store> {
    preflight::make_folder(folder)?;
    let folder = fs::canonicalize(folder).map_err(|e| unavailable(folder, e))?;
    let mut opened = opened().lock().unwrap_or_else(PoisonError::into_inner);
    opened.retain(|_, store| store.strong_count() > 0);
    if let Some(shared) = opened.get(&folder).and_then(Weak::upgrade) {
        return Ok(Store(shared));
    }
    let store = Store::start(&folder, config)?;
    opened.insert(folder, Arc::downgrade(&store.0));
    Ok(store)
}

/// The store of `folder`, in its canonical form, when this process has it open.
pub(super) fn opened_here(folder: &Path) -> Option<Store> {
    let opened = opened().lock().unwrap_or_else(PoisonError::into_inner);
    opened.get(folder).and_then(Weak::upgrade).map(Store)
}

fn unavailable(folder: &Path, cause: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the folder of the store cannot be used; check its path and permissions")
        .with("folder", folder.display())
        .caused_by(cause)
}

impl Environment {
    pub(super) fn open(folder: &Path, config: &StoreConfig) -> Result<Self> {
        preflight::check(folder)?;
        let claim = Claim::shared(folder)?;
        let env = open_file(folder, config)?;
        env.clear_stale_readers().stored("meta")?;
        let tables = loop {
            match tables::open(&env) {
                // Another process grew the map between the two steps.
                Err(error) if is_map_resized(&error) => resize_env(&env, 0).stored("meta")?,
                opened => break opened?,
            }
        };
        preflight::own(folder)?;
        scratch::clean(folder);
        let (resize, resizing) = (RwLock::new(()), AtomicBool::new(false));
        Ok(Self { folder: folder.to_owned(), tables, env, _claim: claim, resize, resizing })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn tables(&self) -> &Tables {
        &self.tables
    }

    pub(super) fn read<T>(&self, look: impl FnOnce(&Read<'_>) -> Result<T>) -> Result<T> {
        let mut cleared = false;
        loop {
            let still = self.enter();
            match self.env.read_txn().stored("read") {
                Ok(txn) => return look(&Read { tables: &self.tables, txn: &txn }),
                Err(error) if is_map_resized(&error) => {
                    drop(still);
                    self.resize_to(0)?;
                }
                // Processes that were killed leave their places taken.
                Err(error) if is_readers_full(&error) && !cleared => {
                    cleared = true;
                    self.env.clear_stale_readers().stored("read")?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Runs `change` in a write transaction; it commits by itself.
    pub(super) fn write<T>(&self, change: impl FnOnce(&Env<WithoutTls>, RwTxn<'_>) -> Result<T>) -> Result<T> {
        loop {
            let still = self.enter();
            match self.env.write_txn().stored("write") {
                Ok(txn) => return change(&self.env, txn),
                Err(error) if is_map_resized(&error) => {
                    drop(still);
                    self.resize_to(0)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Copies a snapshot of everything, without free space, into `file`.
    pub(super) fn copy_to(&self, file: &mut fs::File) -> Result<()> {
        let _still = self.enter();
        self.env.copy_to_file(file, CompactionOption::Enabled).stored("backup").map(drop)
    }

    /// Bytes of the file up to its last page, and of the table of tables.
    pub(super) fn sizes(&self) -> (u64, u64) {
        let _still = self.enter();
        let root = self.env.unnamed_database_stat();
        let pages = self.env.info().last_page_number as u64 + 1;
        (pages * u64::from(root.page_size), pages_of(&root))
    }

    /// Doubles the map.
    pub(super) fn grow(&self) -> Result<()> {
        let size = self.env.info().map_size;
        self.resize_to(whole_pages(size.saturating_mul(2)))
    }

    /// Keeps the map as it is while a transaction is open.
    fn enter(&self) -> RwLockReadGuard<'_, ()> {
        let began = Instant::now();
        while self.resizing.load(Ordering::Relaxed) && began.elapsed() < HOLD_BACK {
            thread::sleep(HOLD_BACK / 20);
        }
        self.resize.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the map `size` bytes; 0 takes over the size another process gave it.
    ///
    /// It never queues for the lock: whoever came after would wait behind it, and so every read for as long as the
    /// longest one, such as a backup. Nor does it only try the lock, which many short reads would keep taken: it holds
    /// new ones back for a moment, lets them pass when a long one is still there, and tries again.
    fn resize_to(&self, size: usize) -> Result<()> {
        loop {
            let began = Instant::now();
            self.resizing.store(true, Ordering::Relaxed);
            while began.elapsed() < HOLD_BACK {
                let alone = match self.resize.try_write() {
                    Ok(alone) => alone,
                    Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                    Err(TryLockError::WouldBlock) => {
                        thread::sleep(HOLD_BACK / 50);
                        continue;
                    }
                };
                let resized = resize_env(&self.env, size).stored("meta");
                self.resizing.store(false, Ordering::Relaxed);
                drop(alone);
                return resized;
            }
            self.resizing.store(false, Ordering::Relaxed);
            thread::sleep(LET_PASS);
        }
    }
}

/// Opens the file in `folder`, which the caller has a claim to.
fn open_file(folder: &Path, config: &StoreConfig) -> Result<Env<WithoutTls>> {
    pages::check(&folder.join(preflight::DATA))?;
    // A store that was just closed in this process may still be closing.
    if let Some(closing) = heed::env_closing_event(folder) {
        closing.wait_timeout(Duration::from_secs(5));
    }
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(whole_pages(config.map_size)).max_dbs(MAX_TABLES).max_readers(MAX_READERS);
    open_env(options, folder, config.durability).stored("meta")
}

/// Copies the store in `folder`, which this process does not have open and has a claim to, without free space into `file`.
/// Its tables are not looked at, so that nothing of it changes.
pub(super) fn copy_closed(folder: &Path, file: &mut fs::File) -> Result<()> {
    let env = open_file(folder, &StoreConfig::default())?;
    let copied = loop {
        match env.copy_to_file(file, CompactionOption::Enabled).stored("backup") {
            // Another process grew the map since it was opened.
            Err(error) if is_map_resized(&error) => resize_env(&env, 0).stored("backup")?,
            copied => break copied,
        }
    };
    env.prepare_for_closing().wait();
    copied
}

/// LMDB wants whole pages; 64 KiB is a multiple of every page size there is.
fn whole_pages(bytes: usize) -> usize {
    const PAGES: usize = 64 * 1024;
    bytes.max(16 * PAGES).div_ceil(PAGES) * PAGES
}

#[expect(unsafe_code, reason = "opening a memory map is unsafe by nature")]
fn open_env(
    mut options: EnvOpenOptions<WithoutTls>,
    folder: &Path,
    durability: Durability,
) -> Result<Env<WithoutTls>, heed::Error> {
    if durability == Durability::Relaxed {
        // SAFETY: NO_META_SYNC may lose the last commits with the machine but keeps the file consistent (LMDB docs).
        unsafe { options.flags(EnvFlags::NO_META_SYNC) };
    }
    // SAFETY: the folder passed the preflight, is on a local file system and is opened once in this process
    // (`open_shared`); other processes use LMDB's own lock file.
    unsafe { options.open(folder) }
}

#[expect(unsafe_code, reason = "LMDB leaves it to the caller to have no transaction open")]
fn resize_env(env: &Env<WithoutTls>, size: usize) -> Result<(), heed::Error> {
    // SAFETY: the caller holds `resize` for writing, and every transaction of this process holds it for reading.
    unsafe { env.resize(size) }
}

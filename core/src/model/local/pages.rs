//! What sequences remember of the tokens they have read: keys and values in pages, which sequences with the same
//! beginning share.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use half::f16;

use super::{kernel::PAGE, resident::MemoryBudget};

/// Keys and values of up to [`PAGE`] positions, of all layers one after the other.
#[derive(Debug)]
pub(super) struct Page {
    numbers: Box<[f16]>,
    counter: Arc<Counter>,
}

/// Counts the pages of a model, and their bytes among those of all models.
#[derive(Debug)]
struct Counter {
    pages: AtomicUsize,
    /// Of one page.
    bytes: u64,
    budget: MemoryBudget,
}

impl Counter {
    fn add(self: &Arc<Self>) -> Arc<Self> {
        self.pages.fetch_add(1, Ordering::Relaxed);
        self.budget.take(self.bytes);
        Arc::clone(self)
    }
}

impl Page {
    fn new(numbers: usize, counter: &Arc<Counter>) -> Self {
        Self { numbers: vec![f16::ZERO; numbers].into_boxed_slice(), counter: counter.add() }
    }

    pub(super) fn numbers(&self) -> &[f16] {
        &self.numbers
    }
}

impl Clone for Page {
    fn clone(&self) -> Self {
        Self { numbers: self.numbers.clone(), counter: self.counter.add() }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.counter.pages.fetch_sub(1, Ordering::Relaxed);
        self.counter.budget.give(self.counter.bytes);
    }
}

/// What one sequence remembers: its pages, and how many positions are filled.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    pages: Vec<Arc<Page>>,
    len: usize,
}

impl Memory {
    /// Positions that are filled.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn pages(&self) -> &[Arc<Page>] {
        &self.pages
    }

    /// Pages that `more` positions need beyond those there are, one that is shared and must be copied among them.
    pub(super) fn missing(&self, more: usize) -> usize {
        let needed = (self.len + more).div_ceil(PAGE).saturating_sub(self.pages.len());
        let copied = self.pages.get(self.len / PAGE).is_some_and(|page| Arc::strong_count(page) > 1);
        needed + usize::from(copied && more > 0)
    }

    /// Makes room for `more` positions in pages of its own.
    pub(super) fn grow(&mut self, more: usize, pages: &Pages) {
        while self.pages.len() * PAGE < self.len + more {
            self.pages.push(Arc::new(Page::new(pages.numbers, &pages.counter)));
        }
        if let Some(page) = self.pages.get_mut(self.len / PAGE) {
            Arc::make_mut(page);
        }
    }

    /// The page of `position` and its place there. The room was made by [`Memory::grow`].
    pub(super) fn slot(&mut self, position: usize) -> Option<(&mut [f16], usize)> {
        let page = Arc::get_mut(self.pages.get_mut(position / PAGE)?)?;
        Some((&mut page.numbers, position % PAGE))
    }

    /// `more` positions were filled.
    pub(super) fn filled(&mut self, more: usize) {
        self.len += more;
    }

    /// Forgets all positions from `len` on.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        self.pages.truncate(self.len.div_ceil(PAGE));
    }

    /// Goes on with the first `count` positions of a page that another sequence filled with the same tokens.
    fn share(&mut self, page: Arc<Page>, count: usize) {
        self.pages.truncate(self.len / PAGE);
        self.pages.push(page);
        self.len += count;
    }
}

/// All pages of a model, and those that are kept for sequences to come.
#[derive(Debug)]
pub(super) struct Pages {
    /// Of one page.
    numbers: usize,
    /// Pages there may be, where the budget of all models has room.
    most: usize,
    /// Pages there may be in any case.
    least: usize,
    counter: Arc<Counter>,
    /// Full pages by what stands before them and the tokens in them.
    kept: HashMap<(u64, [u32; PAGE]), Kept>,
    next: u64,
    clock: u64,
}

#[derive(Debug)]
struct Kept {
    /// Names the page, as what stands before others.
    id: u64,
    page: Arc<Page>,
    used: u64,
}

impl Pages {
    /// Pages of `numbers` numbers each, in at most `bytes` of memory, and never fewer than `least`.
    pub(super) fn new(numbers: usize, bytes: u64, least: usize) -> Self {
        Self::within(MemoryBudget::default(), numbers, bytes, least)
    }

    /// The same, as long as all models together are within `budget`, but for the `least` pages.
    pub(super) fn within(budget: MemoryBudget, numbers: usize, bytes: u64, least: usize) -> Self {
        let each = numbers as u64 * 2;
        let most = usize::try_from(bytes / each).unwrap_or(usize::MAX).max(least);
        let counter = Arc::new(Counter { pages: AtomicUsize::new(0), bytes: each, budget });
        Self { numbers, most, least, counter, kept: HashMap::new(), next: 1, clock: 0 }
    }

    /// Pages there are.
    pub(super) fn count(&self) -> usize {
        self.counter.pages.load(Ordering::Relaxed)
    }

    /// Pages there may be now.
    fn limit(&self) -> usize {
        let left = usize::try_from(self.counter.budget.left() / self.counter.bytes).unwrap_or(usize::MAX);
        self.count().saturating_add(left).min(self.most).max(self.least)
    }

    /// Whether there may be fewer than the model's own limit has room for, and not `more`.
    pub(super) fn is_short_of(&self, more: usize) -> bool {
        let limit = self.limit();
        limit < self.most && self.count() + more > limit
    }

    /// Gives up all kept pages that nobody uses.
    pub(super) fn forget(&mut self) {
        self.kept.retain(|_, kept| Arc::strong_count(&kept.page) > 1);
    }

    /// Bytes of one page.
    pub(super) fn page_bytes(&self) -> usize {
        self.numbers * 2
    }

    /// Pages that are kept for sequences to come.
    pub(super) fn kept(&self) -> usize {
        self.kept.len()
    }

    /// Whether there would be room for `more` pages.
    pub(super) fn has_room(&self, more: usize) -> bool {
        let unused = || self.kept.values().filter(|kept| Arc::strong_count(&kept.page) == 1).count();
        let (wanted, limit) = (self.count() + more, self.limit());
        wanted <= limit || wanted - unused() <= limit
    }

    /// How many of the first pages of `tokens` others use now.
    pub(super) fn in_use(&self, tokens: &[u32]) -> usize {
        self.kept_of(tokens).filter(|page| Arc::strong_count(page) > 1).count()
    }

    /// Whether there would be room for `more` pages and those of `tokens` if only `used` were in use.
    pub(super) fn would_have_room(&self, used: &HashSet<*const Page>, tokens: &[u32], more: usize) -> bool {
        let there = self.kept_of(tokens).filter(|page| used.contains(&Arc::as_ptr(page))).count();
        used.len() + more <= self.limit() + there
    }

    /// The first pages of `tokens`, as far as they are kept.
    fn kept_of(&self, tokens: &[u32]) -> impl Iterator<Item = &Arc<Page>> {
        let mut parent = 0;
        tokens.as_chunks::<PAGE>().0.iter().map_while(move |chunk| {
            let kept = self.kept.get(&(parent, *chunk))?;
            parent = kept.id;
            Some(&kept.page)
        })
    }

    /// Whether there is room for `more` pages; kept ones that nobody uses make way, the longest unused first.
    pub(super) fn make_room(&mut self, more: usize) -> bool {
        while self.count() + more > self.limit() {
            let unused = self.kept.iter().filter(|(_, kept)| Arc::strong_count(&kept.page) == 1);
            // Of pages used at the same time the last of a sequence first: without its first, none of it is found.
            let oldest = unused.min_by_key(|(_, kept)| (kept.used, Reverse(kept.id)));
            let Some(key) = oldest.map(|(key, _)| *key) else { return false };
            self.kept.remove(&key);
        }
        true
    }

    /// Goes on in `memory` with pages that were kept for the same tokens, as far as there are any; at least one token
    /// is left to be read. `tokens` are those of the whole sequence. Returns how many tokens need not be read.
    pub(super) fn find(&mut self, memory: &mut Memory, tokens: &[u32]) -> usize {
        if !memory.len().is_multiple_of(PAGE) {
            return 0;
        }
        self.clock += 1;
        let before = memory.len();
        let mut parent = self.last_of(&tokens[..before]);
        while let Some(id) = parent
            && memory.len() + PAGE < tokens.len()
            && let Some(chunk) = tokens[memory.len()..].first_chunk::<PAGE>()
            && let Some(kept) = self.kept.get_mut(&(id, *chunk))
        {
            kept.used = self.clock;
            parent = Some(kept.id);
            memory.share(Arc::clone(&kept.page), PAGE);
        }
        // Of a page that the last token ends, all others are there.
        if let Some(id) = parent
            && memory.len() + PAGE == tokens.len()
            && let Some(chunk) = tokens[memory.len()..].first_chunk::<PAGE>()
            && let Some(kept) = self.kept.get_mut(&(id, *chunk))
        {
            kept.used = self.clock;
            memory.share(Arc::clone(&kept.page), PAGE - 1);
        }
        memory.len() - before
    }

    /// Keeps the full pages of `memory`, which read `tokens`, for others that begin like it. Where an equal page is kept
    /// already, `memory` goes on with that one: a page in use must be the one that is kept, or what stands before it
    /// could make way and it would be kept twice, and then for ever.
    pub(super) fn keep(&mut self, memory: &mut Memory, tokens: &[u32]) {
        self.clock += 1;
        let mut parent = 0;
        let full = memory.len() / PAGE;
        for (chunk, page) in tokens.as_chunks::<PAGE>().0.iter().zip(&mut memory.pages).take(full) {
            let next = &mut self.next;
            let kept = self.kept.entry((parent, *chunk)).or_insert_with(|| {
                *next += 1;
                Kept { id: *next, page: Arc::clone(page), used: 0 }
            });
            if !Arc::ptr_eq(page, &kept.page) {
                *page = Arc::clone(&kept.page);
            }
            kept.used = self.clock;
            parent = kept.id;
        }
    }

    /// The name of the last page of `tokens`; none when one of them is not kept.
    fn last_of(&self, tokens: &[u32]) -> Option<u64> {
        tokens.as_chunks::<PAGE>().0.iter().try_fold(0, |parent, chunk| Some(self.kept.get(&(parent, *chunk))?.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pages: &mut Pages, tokens: &[u32]) -> Memory {
        let mut memory = Memory::default();
        memory.grow(tokens.len(), pages);
        memory.filled(tokens.len());
        pages.keep(&mut memory, tokens);
        memory
    }

    fn tokens(count: u32, last: u32) -> Vec<u32> {
        (0..count).chain([last]).collect()
    }

    #[test]
    fn the_same_beginning_is_shared_and_one_token_is_left() {
        let mut pages = Pages::new(4, 1 << 20, 1);
        let first = filled(&mut pages, &tokens(70, 1));
        assert_eq!(pages.count(), 3);
        let mut second = Memory::default();
        assert_eq!(pages.find(&mut second, &tokens(70, 2)), 64);
        assert!(Arc::ptr_eq(&first.pages()[1], &second.pages()[1]) && pages.count() == 3);
        assert_eq!(pages.find(&mut second, &tokens(70, 2)), 0, "the third page is not full");
        let mut exact = Memory::default();
        assert_eq!(pages.find(&mut exact, &tokens(70, 1)[..64]), 63);
        assert_eq!(exact.missing(1), 1, "the shared page is copied before the last token goes to it");
        exact.grow(1, &pages);
        assert!(exact.slot(63).is_some() && pages.count() == 4);
        let mut other = Memory::default();
        let changed: Vec<_> = std::iter::once(9).chain(tokens(70, 1)).collect();
        assert_eq!(pages.find(&mut other, &changed), 0);
    }

    #[test]
    fn a_shared_page_is_copied_before_it_is_written() {
        let pages = Pages::new(4, 1 << 20, 1);
        let mut first = Memory::default();
        first.grow(3, &pages);
        first.slot(2).unwrap().0[1] = f16::ONE;
        first.filled(3);
        let mut second = first.clone();
        assert_eq!((second.missing(1), second.missing(0), second.missing(30)), (1, 0, 2));
        second.grow(1, &pages);
        second.slot(3).unwrap().0[0] = f16::ONE;
        assert_eq!(first.pages()[0].numbers()[0], f16::ZERO);
        assert_eq!(second.pages()[0].numbers()[1], f16::ONE);
        assert_eq!(pages.count(), 2);
        drop(second);
        assert_eq!(pages.count(), 1);
    }

    #[test]
    fn equal_sequences_read_at_once_leave_nothing_behind() {
        let mut pages = Pages::new(4, 0, 8);
        let text = tokens(96, 1);
        let mut first = filled(&mut pages, &text[..40]);
        let mut second = filled(&mut pages, &text[..40]);
        assert_eq!(pages.count(), 3, "the page they have in common is there once, and each has its last one");
        assert!(Arc::ptr_eq(&first.pages()[0], &second.pages()[0]));
        // The first leaves, its pages make way, and the second goes on.
        drop(std::mem::take(&mut first));
        assert!(pages.make_room(6), "only what the second uses stays");
        second.grow(56, &pages);
        second.filled(56);
        pages.keep(&mut second, &text);
        drop(second);
        assert!(pages.make_room(8), "what nobody uses makes way, all of it");
        assert_eq!(pages.count(), 0);
    }

    #[test]
    fn the_end_of_a_sequence_makes_way_before_its_beginning() {
        let mut pages = Pages::new(4, 0, 4);
        let text = tokens(96, 1);
        drop(filled(&mut pages, &text));
        assert!(pages.make_room(2));
        let mut again = Memory::default();
        assert_eq!(pages.find(&mut again, &text), 64);
    }

    #[test]
    fn what_was_guessed_wrong_is_forgotten() {
        let pages = Pages::new(4, 1 << 20, 1);
        let mut memory = Memory::default();
        memory.grow(70, &pages);
        memory.filled(70);
        memory.truncate(64);
        assert_eq!((memory.len(), pages.count()), (64, 2));
        memory.truncate(63);
        assert_eq!((memory.len(), pages.count()), (63, 2));
        memory.truncate(99);
        assert_eq!(memory.len(), 63);
    }

    #[test]
    fn room_counts_what_nobody_uses() {
        let mut pages = Pages::new(4, 0, 4);
        let first = filled(&mut pages, &tokens(70, 1));
        assert_eq!((pages.kept(), pages.count()), (2, 3));
        assert!(pages.has_room(1) && !pages.has_room(2));
        assert_eq!(pages.in_use(&tokens(70, 9)), 2);
        drop(first);
        assert!(pages.has_room(4) && !pages.has_room(5));
        assert_eq!((pages.in_use(&tokens(70, 9)), pages.kept()), (0, 2), "nothing was given up by asking");
    }

    #[test]
    fn all_models_together_are_within_the_budget() {
        // Of ten pages.
        let budget = MemoryBudget::new(Some(80));
        let mut one = Pages::within(budget.clone(), 4, 1 << 20, 2);
        let mut other = Pages::within(budget.clone(), 4, 1 << 20, 2);
        let first = filled(&mut one, &tokens(64, 1));
        assert!(other.has_room(7) && !other.has_room(8) && other.make_room(7) && !other.make_room(8));
        assert!(other.is_short_of(8) && !other.is_short_of(7));
        let second = filled(&mut other, &tokens(160, 2));
        assert_eq!((one.count(), other.count(), budget.left()), (3, 6, 8));
        assert!(!one.has_room(2), "what others keep is theirs");
        drop(second);
        other.forget();
        assert_eq!((other.count(), budget.left()), (0, 56));
        assert!(one.has_room(7));
        let held = budget.hold(80);
        assert!(!one.has_room(1) && other.has_room(2) && !other.has_room(3), "the least there is in any case");
        drop((held, first, one, other));
        assert_eq!(budget.left(), 80);
    }

    #[test]
    fn the_longest_unused_makes_way() {
        let mut pages = Pages::new(4, 0, 4);
        drop(filled(&mut pages, &tokens(32, 1)));
        drop(filled(&mut pages, &[vec![5; 32], vec![1]].concat()));
        let used = filled(&mut pages, &[vec![7; 32], vec![1]].concat());
        assert_eq!(pages.count(), 4);
        let mut again = Memory::default();
        assert_eq!(pages.find(&mut again, &tokens(32, 1)), 32);
        assert!(pages.make_room(1), "the page of fives is not used");
        assert_eq!(pages.count(), 3);
        assert!(!pages.make_room(2), "all others are in use");
        drop((used, again));
        assert!(pages.make_room(4));
    }
}

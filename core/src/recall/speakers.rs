//! Who says what: the speakers of a namespace, and which of them a question names.

use super::{
    namespace::{MAX_NAME, Namespace},
    rows::malformed,
    words,
};
use crate::{
    error::Result,
    store::{Read, Write},
};

/// The number by which slots name a speaker; never 0. Two names may share one, once in four thousand million: a boost then
/// goes to a wrong item.
pub(super) fn number(name: &str) -> u32 {
    crc32fast::hash(normal(name).as_bytes()).max(1)
}

/// The words of a name, by which it is found however it is written.
fn normal(name: &str) -> String {
    let mut normal = words::plain_words(name).join(" ");
    // It is a part of a key, and plain letters can be more than those of the name.
    normal.truncate(normal.floor_char_boundary(MAX_NAME));
    normal
}

fn key(namespace: &Namespace, normal: &str) -> Option<Vec<u8>> {
    (!normal.is_empty()).then(|| [&namespace.prefix(), normal.as_bytes()].concat())
}

/// Counts one item more, or less, that `name` said.
pub(super) fn count(write: &mut Write<'_, '_>, namespace: &Namespace, name: &str, more: bool) -> Result<()> {
    let Some(key) = key(namespace, &normal(name)) else { return Ok(()) };
    let speakers = write.tables.speakers;
    let known = match speakers.get(write.txn, &key)? {
        Some(count) => u32::from_le_bytes(count.try_into().map_err(|_| malformed("speakers"))?),
        None => 0,
    };
    let now = if more { known.saturating_add(1) } else { known.saturating_sub(1) };
    if now == 0 {
        speakers.delete(write.txn, &key)?;
        return Ok(());
    }
    speakers.put(write.txn, &key, &now.to_le_bytes())
}

/// The speakers whose name, or whose first name, is among `words` from `at` on, and how many words name them.
pub(super) fn named(read: &Read<'_>, namespace: &Namespace, words: &[&str]) -> Result<(Vec<u32>, usize)> {
    let Some(first) = words.first() else { return Ok((Vec::new(), 0)) };
    let (mut numbers, mut length) = (Vec::new(), 0);
    let prefix = [&namespace.prefix(), first.as_bytes()].concat();
    for key in read.tables.speakers.keys(read.txn, &prefix)?.take(MOST) {
        let name = String::from_utf8_lossy(&key?[4..]).into_owned();
        if name != *first && !name[first.len()..].starts_with(' ') {
            continue;
        }
        let same = name.split(' ').zip(words).take_while(|(part, word)| part == *word).count();
        if same > length {
            // The more of a name is said, the fewer are meant.
            (numbers, length) = (Vec::new(), same);
        }
        if same == length {
            numbers.push(crc32fast::hash(name.as_bytes()).max(1));
        }
    }
    Ok((numbers, length))
}

/// Speakers looked at for one word at most: a first name that so many have names nobody.
const MOST: usize = 64;

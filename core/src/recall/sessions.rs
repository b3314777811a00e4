//! What follows what: the items of a session in the order in which they were stored, and the passages of a text.
//!
//! Each item knows the one before and the one after it (see `slots`), so that an item can be taken out or put in anywhere.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{
    namespace::Namespace,
    record::Record,
    rows::{ends, malformed},
    slots::NewSlots,
};
use crate::{
    error::Result,
    store::{Read, Write},
};

/// A session, as stored in `sessions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    /// The last item, or passage, of it.
    last: u32,
    /// Items of it.
    items: u64,
}

/// Between which two an item is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    before: Option<u32>,
    after: Option<u32>,
}

fn key(namespace: &Namespace, session: &str) -> Vec<u8> {
    [&namespace.prefix(), session.as_bytes()].concat()
}

/// The sessions there are, and how many items each has.
pub(super) fn counts(read: &Read<'_>, namespace: &Namespace) -> Result<HashMap<String, u64>> {
    let sessions = read.tables.sessions;
    let counted = sessions.prefix(read.txn, &namespace.prefix())?.map(|row| {
        let (key, value) = row?;
        let name = String::from_utf8_lossy(key.get(4..).unwrap_or_default()).into_owned();
        Ok((name, sessions.parse::<Session>(value)?.items))
    });
    counted.collect()
}

/// Where an item is.
pub(super) fn place_of(
    slots: &mut NewSlots,
    write: &Write<'_, '_>,
    namespace: &Namespace,
    item: u32,
    record: &Record,
) -> Result<Place> {
    let (first, last) = ends(item, record.passages);
    let before = slots.get(write, namespace, first)?.before;
    let after = slots.get(write, namespace, last)?.after;
    Ok(Place { before, after })
}

/// Puts the passages from `first` to `last` into a session, if it is of one, and links them: at `place`, where one of them was, or at its
/// end.
pub(super) fn put(
    slots: &mut NewSlots,
    write: &mut Write<'_, '_>,
    namespace: &mut Namespace,
    ((first, last), session): ((u32, u32), Option<&str>),
    place: Option<Place>,
) -> Result<()> {
    // Passages of a text that stands alone do not help each other: it would come before all that are found as a whole.
    let Some(name) = session else { return Ok(()) };
    for passage in first..last {
        slots.link(write, namespace, Some(passage), Some(passage + 1))?;
    }
    namespace.linked |= first < last;
    let key = key(namespace, name);
    let known: Option<Session> = write.tables.sessions.get_json(write.txn, &key)?;
    let end = Place { before: known.map(|session| session.last), after: None };
    let place = place.filter(|_| known.is_some()).unwrap_or(end);
    if let Some(before) = place.before {
        slots.link(write, namespace, Some(before), Some(first))?;
    }
    if let Some(after) = place.after {
        slots.link(write, namespace, Some(last), Some(after))?;
    }
    namespace.linked |= place != Place::default();
    let session = Session {
        last: match (known, place.after) {
            (Some(known), Some(_)) => known.last,
            _ => last,
        },
        items: known.map_or(0, |session| session.items) + 1,
    };
    write.tables.sessions.put_json(write.txn, &key, &session)
}

/// Takes the passages from `first` to `last` out of their session.
pub(super) fn remove(
    slots: &mut NewSlots,
    write: &mut Write<'_, '_>,
    namespace: &mut Namespace,
    (first, last): (u32, u32),
    session: Option<&str>,
) -> Result<()> {
    let Some(name) = session else { return Ok(()) };
    let before = slots.get(write, namespace, first)?.before;
    let after = slots.get(write, namespace, last)?.after;
    slots.link(write, namespace, before, after)?;
    let key = key(namespace, name);
    let known: Session = write.tables.sessions.get_json(write.txn, &key)?.ok_or_else(|| malformed("sessions"))?;
    match before {
        // The last of it was the only one.
        None if known.last == last => write.tables.sessions.delete(write.txn, &key).map(drop),
        _ => {
            let now = if known.last == last { before.unwrap_or(known.last) } else { known.last };
            let session = Session { last: now, items: known.items.saturating_sub(1) };
            write.tables.sessions.put_json(write.txn, &key, &session)
        }
    }
}

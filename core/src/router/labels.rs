//! Rows of what can be judged and of what was, in the table `learning`.
//!
//! A key begins with `r` for a reply that can be judged, then its tenant with the length before it, and its id; or with `l`
//! for a judgement, then its number, and tenant and id as above. Judgements are numbered in the order in which they came.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{
    learn::{Outcome, Record},
    route::RouteRequest,
};
use crate::{
    error::{Error, ErrorKind, Result},
    store::{Read, Write},
};

const REPLY: u8 = b'r';
const LABEL: u8 = b'l';
/// The key of the number of the next judgement.
const NEXT: &[u8] = b"n";
/// Bytes of a key of a judgement before its tenant.
const NUMBERED: usize = 9;
/// Old replies that every new one looks at, so that what can no longer be judged does not stay.
const SWEEP: usize = 4;

/// A reply that may be judged.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Judgeable {
    pub(super) until_ms: u64,
    /// With the outcome of the model that answered, and perhaps of another one that was asked beside it.
    pub(super) record: Record,
    /// The model that answered, where there are two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) given: Option<String>,
}

impl Judgeable {
    /// Whether `model` is the one that was asked beside the one that answered.
    pub(super) fn is_beside(&self, model: &str) -> bool {
        self.given.as_ref().is_some_and(|given| given != model)
    }
}

/// A reply of which two models' answers are kept, both to be judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Shadowed {
    /// The id of the reply.
    pub id: String,
    /// What was asked.
    pub prompt: String,
    /// The caller's name of the task.
    pub tag: Option<String>,
    /// The model that answered.
    pub model: String,
    /// What it answered.
    pub text: String,
    /// The model that was asked beside it.
    pub shadow_model: String,
    /// What that one answered.
    pub shadow_text: String,
}

/// Keeps `reply` to be judged.
pub(super) fn keep(write: &mut Write<'_, '_>, tenant: &str, id: &str, reply: &Judgeable) -> Result<()> {
    let key = reply_key(tenant, id);
    write.tables.learning.put_json(write.txn, &key, reply)?;
    sweep(write, &key)
}

/// Adds the `outcome` of a `model` that was asked beside the one that answered, unless the reply was judged meanwhile.
pub(super) fn add_beside(
    write: &mut Write<'_, '_>,
    (tenant, id): (&str, &str),
    model: &str,
    outcome: Outcome,
) -> Result<()> {
    let (table, key) = (&write.tables.learning, reply_key(tenant, id));
    let Some(mut reply) = table.get_json::<Judgeable>(write.txn, &key)? else { return Ok(()) };
    reply.given = reply.record.outcomes.keys().next().cloned();
    reply.record.outcomes.insert(model.to_owned(), outcome);
    table.put_json(write.txn, &key, &reply)
}

/// Judges a reply: its answer by `score`, and that of the model asked beside it by `shadow`. Gives what is learned, with its
/// number; nothing when no such reply can be judged.
///
/// # Errors
/// `Invalid` when there is a `shadow` score and no such answer.
pub(super) fn judge(
    write: &mut Write<'_, '_>,
    (tenant, id): (&str, &str),
    score: f64,
    shadow: Option<f64>,
) -> Result<Option<(u64, Record)>> {
    let (table, key) = (&write.tables.learning, reply_key(tenant, id));
    let reply = table.get_json::<Judgeable>(write.txn, &key)?.filter(|reply| reply.until_ms >= now_ms());
    let Some(reply) = reply else { return Ok(None) };
    if shadow.is_some() && reply.given.is_none() {
        let message = "no other model was asked for this reply; leave its score out, or see which were by `shadowed`";
        return Err(Error::invalid(message));
    }
    let mut outcomes = reply.record.outcomes.clone();
    outcomes.retain(|model, _| shadow.is_some() || !reply.is_beside(model));
    for (model, outcome) in &mut outcomes {
        outcome.quality = shadow.filter(|_| reply.is_beside(model)).unwrap_or(score);
    }
    let record = Record { outcomes, ..reply.record };
    table.delete(write.txn, &key)?;
    let last = table.last(write.txn, &[LABEL])?.and_then(|(key, _)| number(key));
    // What was forgotten had a number too, by which it was learned.
    let next = table.get_json::<u64>(write.txn, NEXT)?.unwrap_or(0).max(last.map_or(0, |last| last + 1));
    table.put_json(write.txn, NEXT, &(next + 1))?;
    // The reply's key without its first byte names whose judgement it is.
    table.put_json(write.txn, &[&[LABEL], next.to_be_bytes().as_slice(), &key[1..]].concat(), &record)?;
    Ok(Some((next, record)))
}

/// Fills in from what words the reply was decided, for as long as it can be judged.
pub(super) fn recall_prompt(read: &Read<'_>, (tenant, id): (&str, &str), request: &mut RouteRequest) -> Result<()> {
    if let Some(reply) = read.tables.learning.get_json::<Judgeable>(read.txn, &reply_key(tenant, id))? {
        (request.prompt, request.embedding) = (Some(reply.record.prompt), reply.record.embedding);
    }
    Ok(())
}

/// Judgements from the one of number `first` on, with their numbers.
pub(super) fn since(read: &Read<'_>, first: u64) -> Result<Vec<(u64, Record)>> {
    let table = &read.tables.learning;
    // Before tenants were in the key, a judgement's key was its bare number, which is the first one here.
    let bare = [&[LABEL], first.to_be_bytes().as_slice()].concat();
    let mut found = Vec::new();
    if let Some(value) = table.get(read.txn, &bare)? {
        found.push((first, table.parse(value)?));
    }
    for key in table.keys_after(read.txn, &bare)? {
        let key = key?;
        let Some(number) = number(key) else { break };
        if let Some(value) = table.get(read.txn, key)? {
            found.push((number, table.parse(value)?));
        }
    }
    Ok(found)
}

/// Removes what is kept of the replies of `tenant`, or of the one of them with `id`: those that can be judged and those
/// that were. Says how many.
pub(super) fn forget(write: &mut Write<'_, '_>, tenant: &str, id: Option<&str>) -> Result<usize> {
    let table = &write.tables.learning;
    let whose = reply_key(tenant, id.unwrap_or_default());
    let fits = |owner: &[u8]| if id.is_some() { owner == &whose[1..] } else { owner.starts_with(&whose[1..]) };
    let mut gone = Vec::new();
    for key in table.keys(write.txn, &[LABEL])? {
        let key = key?;
        if key.get(NUMBERED..).is_some_and(fits) {
            gone.push(key.to_vec());
        }
    }
    for key in table.keys(write.txn, &whose)? {
        let key = key?;
        if fits(&key[1..]) {
            gone.push(key.to_vec());
        }
    }
    gone.iter().try_for_each(|key| table.delete(write.txn, key).map(drop))?;
    Ok(gone.len())
}

/// The newest replies of `tenant` of which two answers are kept.
pub(super) fn shadowed(read: &Read<'_>, tenant: &str, most: usize) -> Result<Vec<Shadowed>> {
    let (table, whose) = (&read.tables.learning, reply_key(tenant, ""));
    let (mut found, now) = (Vec::new(), now_ms());
    for row in table.prefix(read.txn, &whose)? {
        let (key, value) = row?;
        let reply: Judgeable = table.parse(value)?;
        let Some(given) = reply.given.as_ref().filter(|_| reply.until_ms >= now) else { continue };
        let text = |beside: bool| {
            let mut outcomes = reply.record.outcomes.iter();
            outcomes.find(|(model, _)| reply.is_beside(model) == beside)
        };
        let (Some((_, own)), Some((shadow_model, shadow))) = (text(false), text(true)) else { continue };
        found.push(Shadowed {
            id: String::from_utf8_lossy(&key[whose.len()..]).into_owned(),
            prompt: reply.record.prompt.clone(),
            tag: reply.record.tag.clone(),
            model: given.clone(),
            text: own.answer.clone().unwrap_or_default(),
            shadow_model: shadow_model.clone(),
            shadow_text: shadow.answer.clone().unwrap_or_default(),
        });
    }
    // Ids sort by time.
    found.reverse();
    found.truncate(most);
    Ok(found)
}

pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}

/// That no such reply can be judged.
pub(super) fn not_judgeable() -> Error {
    let message = "no reply with this id can be judged; `router.learning.enabled` must be set when it is asked for, and each \
                   is judged once, within `judge_days`";
    Error::new(ErrorKind::NotFound, message)
}

/// The tenant with its length before it, so that no reply of one tenant is one of another.
fn reply_key(tenant: &str, id: &str) -> Vec<u8> {
    let mut key = vec![REPLY];
    key.extend_from_slice(&(tenant.len() as u16).to_be_bytes());
    key.extend_from_slice(tenant.as_bytes());
    // Longer than any id.
    key.extend_from_slice(&id.as_bytes()[..id.len().min(64)]);
    key
}

/// The number of the judgement under `key`; none when it is none.
fn number(key: &[u8]) -> Option<u64> {
    let rest = key.strip_prefix(&[LABEL])?;
    Some(u64::from_be_bytes(*rest.first_chunk()?))
}

/// Removes some of the oldest replies of the tenant of `key` that can no longer be judged: ids sort by time.
fn sweep(write: &mut Write<'_, '_>, key: &[u8]) -> Result<()> {
    let table = &write.tables.learning;
    let tenant = &key[..3 + usize::from(u16::from_be_bytes([key[1], key[2]]))];
    let now = now_ms();
    let mut gone = Vec::new();
    for row in table.prefix(write.txn, tenant)?.take(SWEEP) {
        let (key, value) = row?;
        if table.parse::<Judgeable>(value)?.until_ms < now {
            gone.push(key.to_vec());
        }
    }
    gone.iter().try_for_each(|key| table.delete(write.txn, key).map(drop))
}

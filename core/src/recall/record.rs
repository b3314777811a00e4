//! An item as it is stored: JSON, compressed where that saves something.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Item, Moment, namespace::plain, rows::malformed, slots::Slot, speakers};
use crate::error::{Error, Result};

/// Bytes of JSON from which on it is compressed: less hardly gets smaller.
const COMPRESSED_FROM: usize = 256;
/// How a value begins that is compressed; JSON begins with a brace.
const LZ4: u8 = 1;

/// An item, as stored in `items`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) text: String,
    #[serde(default)]
    pub(super) metadata: Map<String, Value>,
    pub(super) stored_ms: u64,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) truncated: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) session: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) speaker: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) valid_from: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) valid_to: Option<Moment>,
    /// When it is forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) importance: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) supersedes: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) superseded_by: Option<String>,
    /// When that it was superseded became known, and until when it was thought to hold before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) superseded: Option<Superseded>,
    /// The item whose text is the same, or nearly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) duplicate_of: Option<String>,
    /// So many passages its text is indexed by: the items after it. 0: it is indexed as a whole.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) passages: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Superseded {
    pub(super) at_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) valid_to: Option<Moment>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(flag: &bool) -> bool {
    !flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Record {
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let json = serde_json::to_vec(self).map_err(|e| Error::unexpected("an item has no JSON form").caused_by(e))?;
        if json.len() < COMPRESSED_FROM {
            return Ok(json);
        }
        let mut packed = Vec::with_capacity(json.len() / 2);
        packed.push(LZ4);
        packed.extend(lz4_flex::block::compress_prepend_size(&json));
        Ok(if packed.len() < json.len() { packed } else { json })
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        match bytes.split_first() {
            Some((&LZ4, packed)) => {
                let json =
                    lz4_flex::block::decompress_size_prepended(packed).map_err(|e| malformed("items").caused_by(e))?;
                parse(&json)
            }
            _ => parse(bytes),
        }
    }

    /// Whether what was said of both is the same, whenever that was.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        // Each field that was said, so that a new one is not forgotten here.
        let said = |record: &Self| Self {
            stored_ms: 0,
            expires: None,
            superseded_by: None,
            superseded: None,
            valid_to: record.superseded.map_or(record.valid_to, |superseded| superseded.valid_to),
            duplicate_of: None,
            // How it was read is not what was said.
            truncated: false,
            passages: 0,
            ..record.clone()
        };
        self.text == other.text && said(self) == said(other)
    }

    /// Whether it can stand for `other`, whose text is the same: it is of the same session, speaker and time.
    pub(super) fn goes_with(&self, other: &Self) -> bool {
        (&self.session, &self.speaker, self.valid_from, self.valid_to)
            == (&other.session, &other.speaker, other.valid_from, other.valid_to)
    }

    /// When it was true, or stored.
    pub(super) fn at_ms(&self) -> i64 {
        self.valid_from.map_or(i64::try_from(self.stored_ms).unwrap_or(i64::MAX), Moment::as_millis)
    }

    /// Its slot, when nothing is next to it.
    pub(super) fn slot(&self) -> Slot {
        Slot {
            speaker: self.speaker.as_deref().map_or(0, speakers::number),
            importance: self.importance,
            at_ms: self.at_ms(),
            ..Slot::default()
        }
    }

    /// The record of an item that was exported; how it is indexed is not said.
    pub(super) fn of_item(item: Item, superseded: Option<Superseded>) -> Self {
        Self {
            id: item.id,
            text: item.text,
            metadata: item.metadata,
            stored_ms: item.stored_ms,
            truncated: item.truncated,
            session: item.session,
            speaker: item.speaker,
            valid_from: item.valid_from,
            valid_to: item.valid_to,
            expires: item.expires,
            importance: item.importance,
            supersedes: item.supersedes,
            superseded_by: item.superseded_by,
            superseded,
            duplicate_of: item.duplicate_of,
            passages: 0,
        }
    }

    pub(super) fn into_item(self, namespace: &str) -> Item {
        Item {
            id: self.id,
            text: self.text,
            metadata: self.metadata,
            namespace: plain(namespace).to_owned(),
            stored_ms: self.stored_ms,
            truncated: self.truncated,
            session: self.session,
            speaker: self.speaker,
            valid_from: self.valid_from,
            valid_to: self.valid_to,
            expires: self.expires,
            importance: self.importance,
            supersedes: self.supersedes,
            superseded_by: self.superseded_by,
            duplicate_of: self.duplicate_of,
        }
    }
}

fn parse(json: &[u8]) -> Result<Record> {
    serde_json::from_slice(json).map_err(|e| malformed("items").caused_by(e))
}

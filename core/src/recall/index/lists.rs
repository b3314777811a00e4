//! Lists of codes by the centroid they are nearest to, as stored.

use super::{
    codes::{self, code_at, malformed, put_code},
    kernel::{GROUP_WORD, LANES},
};
use crate::{
    error::Result,
    recall::namespace::Namespace,
    store::{Read, Write},
};

/// The number under which the centroids stand: no list has it.
const CENTROIDS: u32 = u32::MAX;

fn prefix(namespace: &Namespace, version: u32) -> [u8; 8] {
    namespace.vector_key(version)
}

fn key(namespace: &Namespace, version: u32, number: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&prefix(namespace, version));
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The items of a list and their codes, in groups.
#[derive(Clone, Copy, Debug)]
pub(super) struct List<'t> {
    items: &'t [[u8; 4]],
    pub(super) groups: &'t [u8],
}

impl<'t> List<'t> {
    pub(super) fn parse(value: &'t [u8], dimensions: usize) -> Result<Self> {
        let parts = || {
            let (count, rest) = value.split_first_chunk::<4>()?;
            let count = u32::from_le_bytes(*count) as usize;
            let (items, groups) = rest.split_at_checked(count.checked_mul(4)?)?;
            let expected = count.div_ceil(LANES) * codes::words(dimensions) * GROUP_WORD;
            (groups.len() == expected).then_some(Self { items: items.as_chunks().0, groups })
        };
        parts().ok_or_else(|| malformed("lists"))
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// The item at a place; none at those that fill the last group up.
    pub(super) fn item(&self, place: u32) -> Option<u32> {
        self.items.get(place as usize).map(|item| u32::from_le_bytes(*item))
    }

    /// The items and their codes.
    pub(super) fn to_vec(self, dimensions: usize) -> Vec<(u32, Vec<u64>)> {
        let code = |place| code_at(self.groups, place, codes::words(dimensions));
        self.items.iter().enumerate().map(|(place, item)| (u32::from_le_bytes(*item), code(place))).collect()
    }
}

/// A list by its number; an absent one is empty.
pub(super) fn read_list<'t>(read: &Read<'t>, namespace: &Namespace, version: u32, number: u32) -> Result<List<'t>> {
    match read.tables.lists.get_unverified(read.txn, &key(namespace, version, number))? {
        Some(value) => List::parse(value, namespace.dimensions),
        None => Ok(List { items: &[], groups: &[] }),
    }
}

/// All lists there are, by their number: where each lies, not yet looked at.
pub(super) fn locate_all<'t>(
    read: &Read<'t>,
    namespace: &Namespace,
    version: u32,
    count: u32,
) -> Result<Vec<&'t [u8]>> {
    let mut lists: Vec<&[u8]> = vec![&[]; count as usize];
    for row in read.tables.lists.prefix_unverified(read.txn, &prefix(namespace, version))? {
        let (key, value) = row?;
        let number = key.last_chunk().map_or(CENTROIDS, |number| u32::from_be_bytes(*number));
        if let Some(list) = lists.get_mut(number as usize) {
            *list = value;
        }
    }
    Ok(lists)
}

/// Writes a list.
pub(super) fn write_list(
    write: &mut Write<'_, '_>,
    namespace: &Namespace,
    version: u32,
    number: u32,
    list: &[(u32, Vec<u64>)],
) -> Result<()> {
    let words = codes::words(namespace.dimensions);
    let head = 4 + list.len() * 4;
    let mut value = Vec::with_capacity(head + list.len().div_ceil(LANES) * words * GROUP_WORD);
    value.extend((list.len() as u32).to_le_bytes());
    value.extend(list.iter().flat_map(|(item, _)| item.to_le_bytes()));
    value.resize(head + list.len().div_ceil(LANES) * words * GROUP_WORD, 0);
    for (place, (_, code)) in list.iter().enumerate() {
        put_code(&mut value[head..], place, code);
    }
    write.tables.lists.put(write.txn, &key(namespace, version, number), &value)
}

/// The centroids, f32 little-endian, one after the other.
pub(super) fn centroids<'t>(read: &Read<'t>, namespace: &Namespace, version: u32, count: u32) -> Result<&'t [u8]> {
    let value = read.tables.lists.get_unverified(read.txn, &key(namespace, version, CENTROIDS))?;
    let value = value.ok_or_else(|| malformed("lists"))?;
    if value.len() == count as usize * namespace.dimensions * 4 { Ok(value) } else { Err(malformed("lists")) }
}

/// Writes the centroids.
pub(super) fn write_centroids(
    write: &mut Write<'_, '_>,
    namespace: &Namespace,
    version: u32,
    centroids: &[f32],
) -> Result<()> {
    let bytes: Vec<u8> = centroids.iter().flat_map(|x| x.to_le_bytes()).collect();
    write.tables.lists.put(write.txn, &key(namespace, version, CENTROIDS), &bytes)
}

/// Removes the lists of one version.
pub(super) fn remove(write: &mut Write<'_, '_>, namespace: &Namespace, version: u32) -> Result<()> {
    write.tables.lists.delete_prefix(write.txn, &prefix(namespace, version)).map(drop)
}

/// Removes the lists of all versions begun so far but those that serve, and those of builders at work, who are too late.
pub(super) fn remove_others(write: &mut Write<'_, '_>, namespace: &mut Namespace) -> Result<()> {
    namespace.lists_cleared = namespace.lists_version;
    let Some(kept) = namespace.lists.map(|lists| prefix(namespace, lists.version)) else {
        return write.tables.lists.delete_prefix(write.txn, &namespace.vector_prefix()).map(drop);
    };
    let mut others: Vec<Vec<u8>> = Vec::new();
    for key in write.tables.lists.keys(write.txn, &namespace.vector_prefix())? {
        let key = key?;
        if !key.starts_with(&kept) {
            others.push(key.to_vec());
        }
    }
    for key in others {
        write.tables.lists.delete(write.txn, &key)?;
    }
    Ok(())
}

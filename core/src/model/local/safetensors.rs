//! Reads a safetensors file: its head is checked before any tensor is loaded.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::File,
    io::{Read, Seek, SeekFrom},
    ops::Range,
    path::Path,
};

use half::{bf16, f16};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use super::weights::read_at;
use crate::error::{Error, ErrorKind, Result};

/// Longest head the format allows.
const MAX_HEAD: u64 = 100_000_000;

#[derive(Debug, Deserialize)]
pub(super) struct TensorInfo {
    dtype: String,
    shape: Vec<u64>,
    pub(super) data_offsets: [u64; 2],
}

/// A tensor.
#[derive(Debug)]
pub(super) struct Numbers {
    pub(super) shape: Vec<usize>,
    /// Last dimension first.
    pub(super) values: Vec<f32>,
}

/// The tensors of a file. Its head was checked; each tensor is read when it is taken, so that never two forms of all
/// weights are in memory.
#[derive(Debug)]
pub(super) struct Tensors {
    file: File,
    infos: BTreeMap<String, TensorInfo>,
    data_offset: u64,
    bytes: u64,
}

impl Tensors {
    /// The tensors of the file at `path`.
    ///
    /// # Errors
    /// `NotFound` when there is none; `Corrupt` when it is not a whole safetensors file; `Unsupported` for tensors of
    /// kinds that cannot be read.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(|e| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Error::not_found(format!("the folder has no {name} that can be read; expected the weights there"))
                .caused_by(e)
        })?;
        let facts =
            file.metadata().map_err(|e| corrupt("the size of model.safetensors cannot be read").caused_by(e))?;
        let (infos, data_offset) = read_head(&mut file, facts.len())?;
        Ok(Self { file, infos, data_offset, bytes: facts.len() })
    }

    /// Bytes of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Names and shapes of its tensors.
    pub(super) fn shapes(&self) -> impl Iterator<Item = (&str, &[u64])> {
        self.infos.iter().map(|(name, info)| (name.as_str(), info.shape.as_slice()))
    }

    /// Reads some of the numbers of the tensor called `name`.
    pub(super) fn some(&self, name: &str, which: Range<u64>) -> Result<Vec<f32>> {
        let absent = || corrupt(format!("tensor \"{name}\" is missing, or none of numbers"));
        let info = self.infos.get(name).ok_or_else(absent)?;
        let (each, [begin, end]) = (bytes_of(&info.dtype, name)?, info.data_offsets);
        if (end - begin) / each < which.end {
            return Err(absent());
        }
        let mut bytes = vec![0; ((which.end - which.start) * each) as usize];
        read_at(&self.file, self.data_offset + begin + which.start * each, &mut bytes)
            .map_err(|e| corrupt(format!("tensor \"{name}\" cannot be read")).caused_by(e))?;
        numbers(&info.dtype, &bytes).ok_or_else(absent)
    }

    /// Reads the tensor called `name`; none when there is none, or none of floating-point numbers.
    pub(super) fn take(&mut self, name: &str) -> Result<Option<Numbers>> {
        let Some(info) = self.infos.remove(name) else { return Ok(None) };
        let [begin, end] = info.data_offsets;
        let unreadable = |e| corrupt(format!("tensor \"{name}\" cannot be read")).caused_by(e);
        self.file.seek(SeekFrom::Start(self.data_offset + begin)).map_err(unreadable)?;
        let mut bytes = vec![0; (end - begin) as usize];
        self.file.read_exact(&mut bytes).map_err(unreadable)?;
        let shape = info.shape.iter().map(|&dim| dim as usize).collect();
        Ok(numbers(&info.dtype, &bytes).map(|values| Numbers { shape, values }))
    }
}

/// The numbers that `bytes` are; none when they are not of floating point.
fn numbers(dtype: &str, bytes: &[u8]) -> Option<Vec<f32>> {
    let pairs = || bytes.as_chunks::<2>().0.iter();
    Some(match dtype {
        "F32" => bytes.as_chunks::<4>().0.iter().map(|&number| f32::from_le_bytes(number)).collect(),
        "F16" => pairs().map(|&number| f16::from_le_bytes(number).to_f32()).collect(),
        "BF16" => pairs().map(|&number| bf16::from_le_bytes(number).to_f32()).collect(),
        _ => return None,
    })
}

/// The checked head, and where the data begins.
pub(super) fn read_head(mut file: impl Read, len: u64) -> Result<(BTreeMap<String, TensorInfo>, u64)> {
    let mut size = [0; 8];
    file.read_exact(&mut size).map_err(|e| corrupt("not a model; expected a safetensors file").caused_by(e))?;
    let size = u64::from_le_bytes(size);
    if size > MAX_HEAD || size > len.saturating_sub(8) {
        return Err(corrupt(format!("the head claims {size} bytes; expected at most those of the file, {len}")));
    }
    let mut head = vec![0; size as usize];
    file.read_exact(&mut head).map_err(|e| corrupt("the file ends inside its head").caused_by(e))?;
    let Head(head) = serde_json::from_slice(&head).map_err(|e| {
        corrupt("the head is no safetensors; expected dtype, shape and data_offsets of each tensor").caused_by(e)
    })?;
    let mut infos = BTreeMap::new();
    let mut places = BTreeSet::new();
    for (name, info) in head {
        let [begin, end] = info.data_offsets;
        let elements = info.shape.iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim));
        let bytes = elements.and_then(|n| n.checked_mul(bytes_of(&info.dtype, &name).ok()?));
        bytes_of(&info.dtype, &name)?;
        if bytes.is_none() || end.checked_sub(begin) != bytes || end > len - 8 - size {
            return Err(corrupt(format!(
                "tensor \"{name}\" lies at {begin} to {end} and has the shape {:?}; expected it inside the file: download \
                 it again",
                info.shape
            )));
        }
        places.insert((begin, end));
        infos.insert(name, info);
    }
    if places.len() != infos.len() || places.iter().zip(places.iter().skip(1)).any(|(one, next)| one.1 > next.0) {
        return Err(corrupt("tensors overlap; expected each at a place of its own"));
    }
    Ok((infos, 8 + size))
}

/// The tensors of a head. What else it has is read past: in memory it might take many times its bytes.
struct Head(BTreeMap<String, TensorInfo>);

impl<'de> Deserialize<'de> for Head {
    fn deserialize<D: Deserializer<'de>>(head: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Head;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Head, A::Error> {
                let mut tensors = BTreeMap::new();
                while let Some(name) = entries.next_key::<String>()? {
                    if name == "__metadata__" {
                        entries.next_value::<IgnoredAny>()?;
                    } else {
                        tensors.insert(name, entries.next_value()?);
                    }
                }
                Ok(Head(tensors))
            }
        }
        head.deserialize_map(Entries)
    }
}

fn bytes_of(dtype: &str, name: &str) -> Result<u64> {
    match dtype {
        "F32" | "I32" | "U32" => Ok(4),
        "F16" | "BF16" => Ok(2),
        "I64" | "U64" => Ok(8),
        other => {
            let message = format!("tensor \"{name}\" is of kind {other}; models in F32, F16 or BF16 can be loaded");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
    }
}

fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(head: &str, data: usize) -> Vec<u8> {
        [&(head.len() as u64).to_le_bytes()[..], head.as_bytes(), &vec![0; data]].concat()
    }

    fn read(bytes: &[u8]) -> Result<(BTreeMap<String, TensorInfo>, u64)> {
        read_head(bytes, bytes.len() as u64)
    }

    const HEAD: &str = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"I64","shape":[1],"data_offsets":[24,32]}}"#;

    #[test]
    fn heads_are_checked() {
        let (infos, at) = read(&file(HEAD, 32)).unwrap();
        assert_eq!((infos.len(), at), (2, 8 + HEAD.len() as u64));
        let kind = |bytes: &[u8]| read(bytes).unwrap_err().kind();
        assert_eq!(kind(&file(HEAD, 31)), ErrorKind::Corrupt);
        assert_eq!(kind(&file(&HEAD.replace("[24,32]", "[20,28]"), 32)), ErrorKind::Corrupt);
        assert_eq!(kind(&file(&HEAD.replace("[2,3]", "[2,4]"), 32)), ErrorKind::Corrupt);
        assert_eq!(kind(&file(&HEAD.replace("[2,3]", "[9223372036854775807,3]"), 32)), ErrorKind::Corrupt);
        assert_eq!(kind(&file(&HEAD.replace("I64", "F64"), 32)), ErrorKind::Unsupported);
        assert_eq!(kind(&u64::MAX.to_le_bytes()), ErrorKind::Corrupt);
        assert_eq!(kind(b""), ErrorKind::Corrupt);
    }

    #[test]
    fn numbers_of_sixteen_bits_are_read_too() {
        let wanted = [1.0, -2.5, 0.0, 96.0];
        let halves: Vec<u8> = wanted.iter().flat_map(|&number| f16::from_f32(number).to_le_bytes()).collect();
        let brains: Vec<u8> = wanted.iter().flat_map(|&number| bf16::from_f32(number).to_le_bytes()).collect();
        let head = r#"{"h":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[4],"data_offsets":[8,16]},"i":{"dtype":"I64","shape":[1],"data_offsets":[16,24]}}"#;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let bytes = [&(head.len() as u64).to_le_bytes()[..], head.as_bytes(), &halves, &brains, &[0; 8]].concat();
        std::fs::write(&path, bytes).unwrap();
        let mut tensors = Tensors::open(&path).unwrap();
        let found = tensors.take("h").unwrap().unwrap();
        assert_eq!((found.shape, found.values), (vec![2, 2], wanted.to_vec()));
        assert_eq!(tensors.take("b").unwrap().unwrap().values, wanted);
        assert!(tensors.take("i").unwrap().is_none() && tensors.take("h").unwrap().is_none());
    }

    proptest! {
        #[test]
        fn changed_bytes_never_panic(at in 0_usize..200, value in any::<u8>(), cut in 0_usize..300) {
            let mut bytes = file(HEAD, 32);
            let at = at % bytes.len();
            bytes[at] = value;
            bytes.truncate(cut.max(1));
            if let Ok((infos, start)) = read(&bytes) {
                prop_assert!(infos.values().all(|info| start + info.data_offsets[1] <= bytes.len() as u64));
            }
        }
    }
}

//! Reads the head of a GGUF file and checks all of it before anything is loaded: a damaged or foreign file is refused
//! with what was expected, and nothing larger than the file justifies is ever allocated.
//!
//! Layout: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    io::Read,
    ops::Index,
};

use candle_core::quantized::GgmlDType;

use crate::error::{Error, ErrorKind, Result};

/// Longest key and tensor name. The format says 65 535 and 64; names of 1 KiB are nobody's.
const MAX_NAME: u64 = 1024;
/// Arrays in arrays, at most; real files have none.
const MAX_DEPTH: usize = 4;
/// Entries of a list at most, sixty times the tokens of the largest vocabulary: numbers of a byte take eight in memory.
const MOST_ENTRIES: u64 = 1 << 24;
const DEFAULT_ALIGNMENT: u64 = 32;

/// A metadata value, widened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Integer(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Texts(Texts),
    Integers(Vec<i64>),
    Floats(Vec<f64>),
    /// An array of arrays: read past, since no model here uses one.
    Nested,
}

/// Texts one after the other: a vocabulary has a hundred thousand, and memory of its own for each would take longer than
/// reading them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Texts {
    all: String,
    /// Where each ends.
    ends: Vec<usize>,
}

/// Where a tensor lies and what it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TensorInfo {
    /// Fastest-changing dimension first, as in the file.
    pub(super) dims: Vec<u64>,
    pub(super) dtype: GgmlDType,
    /// From the start of the tensor data.
    pub(super) offset: u64,
    /// Bytes it takes.
    pub(super) size: u64,
}

/// The checked head of a GGUF file.
#[derive(Debug, Default)]
pub(super) struct Gguf {
    pub(super) metadata: BTreeMap<String, Value>,
    pub(super) tensors: BTreeMap<String, TensorInfo>,
    /// Where the tensor data begins in the file.
    pub(super) data_offset: u64,
}

impl Gguf {
    /// Reads the head of a file of `len` bytes.
    ///
    /// # Errors
    /// `Corrupt` when it is not a whole GGUF file; `Unsupported` for a version or tensor type that cannot be loaded.
    pub(super) fn read(from: impl Read, len: u64) -> Result<Self> {
        let mut bytes = Bytes { from, at: 0, len };
        check_version(&mut bytes)?;
        let tensor_count = bytes.u64()?;
        let value_count = bytes.u64()?;
        // Least bytes of an entry: name length, type and one byte; name length, dimensions, type and offset.
        bytes.expect_room(value_count, 13, "metadata entries")?;
        bytes.expect_room(tensor_count, 32, "tensors")?;

        let mut metadata = BTreeMap::new();
        for _ in 0..value_count {
            let key = bytes.name("a metadata key")?;
            let kind = bytes.u32()?;
            let value = read_value(&mut bytes, kind, 0)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(corrupt(format!("metadata key \"{key}\" comes twice; expected once")));
            }
        }
        let mut tensors = BTreeMap::new();
        for _ in 0..tensor_count {
            let (name, info) = read_tensor_info(&mut bytes)?;
            if tensors.insert(name.clone(), info).is_some() {
                return Err(corrupt(format!("tensor \"{name}\" comes twice; expected once")));
            }
        }
        let alignment = match metadata.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(&Value::Integer(alignment))
                if (1..=1 << 20).contains(&alignment) && (alignment & (alignment - 1)) == 0 =>
            {
                alignment as u64
            }
            Some(_) => return Err(corrupt("general.alignment is wrong; expected a power of two up to 1048576")),
        };
        let data_offset = bytes.at.next_multiple_of(alignment);
        check_places(&tensors, data_offset, alignment, len)?;
        Ok(Self { metadata, tensors, data_offset })
    }

    /// The text at `key`.
    pub(super) fn text(&self, key: &str) -> Result<&str> {
        self.text_if_any(key)?.ok_or_else(|| missing(key))
    }

    pub(super) fn text_if_any(&self, key: &str) -> Result<Option<&str>> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(key, "a text")),
        }
    }

    /// The whole number at `key`.
    pub(super) fn integer(&self, key: &str) -> Result<u64> {
        self.integer_if_any(key)?.ok_or_else(|| missing(key))
    }

    pub(super) fn integer_if_any(&self, key: &str) -> Result<Option<u64>> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(&Value::Integer(number)) => {
                u64::try_from(number).map(Some).map_err(|_| wrong(key, "no negative number"))
            }
            Some(_) => Err(wrong(key, "a whole number")),
        }
    }

    /// The number at `key`, finite.
    pub(super) fn float_if_any(&self, key: &str) -> Result<Option<f64>> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(&Value::Float(number)) if number.is_finite() => Ok(Some(number)),
            Some(_) => Err(wrong(key, "a finite number")),
        }
    }

    pub(super) fn bool_if_any(&self, key: &str) -> Result<Option<bool>> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(&Value::Bool(yes)) => Ok(Some(yes)),
            Some(_) => Err(wrong(key, "a boolean")),
        }
    }

    /// The texts at `key`.
    pub(super) fn texts(&self, key: &str) -> Result<&Texts> {
        match self.metadata.get(key) {
            None => Err(missing(key)),
            Some(Value::Texts(texts)) => Ok(texts),
            Some(_) => Err(wrong(key, "a list of texts")),
        }
    }

    /// The numbers at `key`.
    pub(super) fn floats(&self, key: &str) -> Result<Vec<f32>> {
        match self.metadata.get(key) {
            None => Err(missing(key)),
            Some(Value::Floats(numbers)) => Ok(numbers.iter().map(|&number| number as f32).collect()),
            Some(Value::Integers(numbers)) => Ok(numbers.iter().map(|&number| number as f32).collect()),
            Some(_) => Err(wrong(key, "a list of numbers")),
        }
    }

    /// The whole numbers at `key`, or none.
    pub(super) fn integers_if_any(&self, key: &str) -> Result<Option<&[i64]>> {
        match self.metadata.get(key) {
            None => Ok(None),
            Some(Value::Integers(numbers)) => Ok(Some(numbers)),
            Some(_) => Err(wrong(key, "a list of whole numbers")),
        }
    }
}

impl Texts {
    pub(super) fn push(&mut self, text: &str) {
        self.all.push_str(text);
        self.ends.push(self.all.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|at| &self[at])
    }
}

impl Index<usize> for Texts {
    type Output = str;

    fn index(&self, at: usize) -> &str {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.all[start..self.ends[at]]
    }
}

impl<'a> FromIterator<&'a str> for Texts {
    fn from_iter<I: IntoIterator<Item = &'a str>>(texts: I) -> Self {
        let mut all = Self::default();
        texts.into_iter().for_each(|text| all.push(text));
        all
    }
}

pub(super) fn corrupt(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Corrupt, message).during("Gguf::read")
}

fn missing(key: &str) -> Error {
    corrupt(format!("the file has no \"{key}\"; expected a whole model with its tokenizer"))
}

fn wrong(key: &str, expected: &str) -> Error {
    corrupt(format!("\"{key}\" is not what it should be; expected {expected}"))
}

/// A reader that knows where it is and how much is left.
struct Bytes<R> {
    from: R,
    at: u64,
    len: u64,
}

impl<R: Read> Bytes<R> {
    fn left(&self) -> u64 {
        self.len.saturating_sub(self.at)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        let wanted = buffer.len() as u64;
        if wanted > self.left() {
            return Err(corrupt(format!(
                "the file ends too early; expected {wanted} more bytes at {}, the file has {}",
                self.at, self.len
            )));
        }
        self.from.read_exact(buffer).map_err(|e| corrupt("the file cannot be read to its end").caused_by(e))?;
        self.at += wanted;
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut buffer = [0; N];
        self.fill(&mut buffer)?;
        Ok(buffer)
    }

    fn u32(&mut self) -> Result<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// Refuses `count` things of at least `least` bytes when the rest of the file cannot hold them.
    fn expect_room(&self, count: u64, least: u64, what: &str) -> Result<()> {
        if count.checked_mul(least).is_none_or(|needed| needed > self.left()) {
            let left = self.left();
            return Err(corrupt(format!(
                "the file claims {count} {what}; expected at most what {left} bytes can hold"
            )));
        }
        Ok(())
    }

    /// A text, which is read to `buffer` and lies there or is made of what lies there.
    fn text<'b>(&mut self, buffer: &'b mut Vec<u8>) -> Result<Cow<'b, str>> {
        let length = self.u64()?;
        self.expect_room(length, 1, "bytes of text")?;
        buffer.resize(length as usize, 0);
        self.fill(buffer)?;
        // Real files hold token texts that are not UTF-8; they only matter to whoever looks at those tokens.
        Ok(String::from_utf8_lossy(buffer))
    }

    fn name(&mut self, what: &str) -> Result<String> {
        let length = self.u64()?;
        if length == 0 || length > MAX_NAME {
            return Err(corrupt(format!("{what} is {length} bytes long; expected 1 to {MAX_NAME}")));
        }
        let mut name = vec![0; length as usize];
        self.fill(&mut name)?;
        String::from_utf8(name).map_err(|_| corrupt(format!("{what} is not UTF-8; expected plain text")))
    }
}

fn check_version(bytes: &mut Bytes<impl Read>) -> Result<()> {
    let magic: [u8; 4] =
        if bytes.len >= 4 { bytes.take()? } else { return Err(corrupt("not a model; expected a GGUF file")) };
    if &magic != b"GGUF" {
        return Err(corrupt("not a model in GGUF form; expected the file to begin with \"GGUF\""));
    }
    match bytes.u32()? {
        2 | 3 => Ok(()),
        version if version.swap_bytes() <= 3 => Err(Error::new(
            ErrorKind::Unsupported,
            "the file is in big-endian GGUF; convert it to the usual little-endian form",
        )
        .during("Gguf::read")),
        version => Err(Error::new(
            ErrorKind::Unsupported,
            format!("GGUF version {version} cannot be read; convert the model to version 3"),
        )
        .during("Gguf::read")),
    }
}

/// Least bytes one value of a kind takes.
fn least_size(kind: u32) -> Result<u64> {
    Ok(match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        9 => 12,
        _ => return Err(corrupt(format!("metadata of kind {kind}; expected 0 to 12"))),
    })
}

fn read_value(bytes: &mut Bytes<impl Read>, kind: u32, depth: usize) -> Result<Value> {
    Ok(match kind {
        8 => Value::Text(bytes.text(&mut Vec::new())?.into_owned()),
        9 => read_array(bytes, depth)?,
        6 | 12 => Value::Float(read_float(bytes, kind)?),
        7 => Value::Bool(read_integer(bytes, kind)? != 0),
        _ => Value::Integer(read_integer(bytes, kind)?),
    })
}

fn read_integer(bytes: &mut Bytes<impl Read>, kind: u32) -> Result<i64> {
    Ok(match kind {
        0 => i64::from(u8::from_le_bytes(bytes.take()?)),
        1 => i64::from(i8::from_le_bytes(bytes.take()?)),
        2 => i64::from(u16::from_le_bytes(bytes.take()?)),
        3 => i64::from(i16::from_le_bytes(bytes.take()?)),
        4 => i64::from(bytes.u32()?),
        5 => i64::from(i32::from_le_bytes(bytes.take()?)),
        7 => match bytes.take::<1>()?[0] {
            bit @ (0 | 1) => i64::from(bit),
            other => return Err(corrupt(format!("a boolean is {other}; expected 0 or 1"))),
        },
        10 => i64::try_from(bytes.u64()?).map_err(|_| corrupt("a number is above 2^63; expected a smaller one"))?,
        11 => i64::from_le_bytes(bytes.take()?),
        _ => return Err(corrupt(format!("metadata of kind {kind}; expected 0 to 12"))),
    })
}

fn read_float(bytes: &mut Bytes<impl Read>, kind: u32) -> Result<f64> {
    if kind == 6 { Ok(f64::from(f32::from_le_bytes(bytes.take()?))) } else { bytes.take().map(f64::from_le_bytes) }
}

fn read_array(bytes: &mut Bytes<impl Read>, depth: usize) -> Result<Value> {
    let kind = bytes.u32()?;
    let count = bytes.u64()?;
    bytes.expect_room(count, least_size(kind)?, "list entries")?;
    if count > MOST_ENTRIES {
        return Err(corrupt(format!("a list has {count} entries; expected at most {MOST_ENTRIES}")));
    }
    // Lists grow as they are read, so a false count cannot make a large allocation.
    Ok(match kind {
        8 => {
            let (mut texts, mut buffer) = (Texts::default(), Vec::new());
            for _ in 0..count {
                texts.push(&bytes.text(&mut buffer)?);
            }
            Value::Texts(texts)
        }
        6 | 12 => Value::Floats((0..count).map(|_| read_float(bytes, kind)).collect::<Result<_>>()?),
        9 if depth >= MAX_DEPTH => return Err(corrupt("lists in lists in lists; expected plain lists")),
        9 => {
            for _ in 0..count {
                read_array(bytes, depth + 1)?;
            }
            Value::Nested
        }
        _ => Value::Integers((0..count).map(|_| read_integer(bytes, kind)).collect::<Result<_>>()?),
    })
}

fn read_tensor_info(bytes: &mut Bytes<impl Read>) -> Result<(String, TensorInfo)> {
    let name = bytes.name("a tensor name")?;
    let rank = bytes.u32()?;
    if !(1..=4).contains(&rank) {
        return Err(corrupt(format!("tensor \"{name}\" has {rank} dimensions; expected 1 to 4")));
    }
    let dims = (0..rank).map(|_| bytes.u64()).collect::<Result<Vec<_>>>()?;
    let dtype = dtype(bytes.u32()?, &name)?;
    let offset = bytes.u64()?;
    let block = dtype.block_size() as u64;
    let elements = dims.iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim)).filter(|&n| n > 0);
    let size = elements
        .filter(|_| dims[0].is_multiple_of(block))
        .and_then(|n| (n / block).checked_mul(dtype.type_size() as u64));
    let Some(size) = size else {
        return Err(corrupt(format!(
            "tensor \"{name}\" has the shape {dims:?}; expected rows of whole blocks of {block}"
        )));
    };
    Ok((name, TensorInfo { dims, dtype, offset, size }))
}

fn dtype(id: u32, name: &str) -> Result<GgmlDType> {
    Ok(match id {
        0 => GgmlDType::F32,
        1 => GgmlDType::F16,
        2 => GgmlDType::Q4_0,
        3 => GgmlDType::Q4_1,
        6 => GgmlDType::Q5_0,
        7 => GgmlDType::Q5_1,
        8 => GgmlDType::Q8_0,
        10 => GgmlDType::Q2K,
        11 => GgmlDType::Q3K,
        12 => GgmlDType::Q4K,
        13 => GgmlDType::Q5K,
        14 => GgmlDType::Q6K,
        30 => GgmlDType::BF16,
        _ => {
            let message = format!(
                "tensor \"{name}\" is quantised in form {id}, which cannot be read; take a file in Q4_0, Q4_1, Q5_0, Q5_1, \
                 Q8_0, a K-quant, F16, BF16 or F32"
            );
            return Err(Error::new(ErrorKind::Unsupported, message).during("Gguf::read"));
        }
    })
}

/// Every tensor inside the file, at an aligned place of its own.
fn check_places(tensors: &BTreeMap<String, TensorInfo>, start: u64, alignment: u64, len: u64) -> Result<()> {
    let mut places = BTreeSet::new();
    for (name, tensor) in tensors {
        let end = start.checked_add(tensor.offset).and_then(|at| at.checked_add(tensor.size));
        if end.is_none_or(|end| end > len) {
            return Err(corrupt(format!(
                "tensor \"{name}\" ends outside the file; expected at least {} bytes of it, the file has {len}: \
                 download it again",
                end.map_or_else(|| "2^64".to_owned(), |end| end.to_string()),
            )));
        }
        if !tensor.offset.is_multiple_of(alignment) {
            return Err(corrupt(format!("tensor \"{name}\" is not aligned; expected a multiple of {alignment}")));
        }
        places.insert((tensor.offset, tensor.offset + tensor.size));
    }
    let overlap = places.iter().zip(places.iter().skip(1)).any(|(one, next)| one.1 > next.0);
    if overlap || places.len() != tensors.len() {
        return Err(corrupt("tensors overlap; expected each at a place of its own"));
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) fn text(value: &str) -> Vec<u8> {
        let mut bytes = (value.len() as u64).to_le_bytes().to_vec();
        bytes.extend(value.as_bytes());
        bytes
    }

    fn entry(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
        [&text(key), &kind.to_le_bytes()[..], value].concat()
    }

    /// A small whole file: five metadata entries and two tensors.
    fn file() -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend(2_u64.to_le_bytes());
        bytes.extend(5_u64.to_le_bytes());
        bytes.extend(entry("general.architecture", 8, &text("llama")));
        bytes.extend(entry("llama.block_count", 4, &30_u32.to_le_bytes()));
        bytes.extend(entry("general.alignment", 4, &32_u32.to_le_bytes()));
        bytes.extend(entry("eps", 6, &1e-5_f32.to_le_bytes()));
        let tokens = [&8_u32.to_le_bytes()[..], &2_u64.to_le_bytes(), &text("a"), &text("é")].concat();
        bytes.extend(entry("tokens", 9, &tokens));
        for (name, dims, kind, offset) in [("one", vec![32_u64, 2], 3_u32, 0_u64), ("two", vec![3], 0, 64)] {
            bytes.extend(text(name));
            bytes.extend((dims.len() as u32).to_le_bytes());
            for dim in dims {
                bytes.extend(dim.to_le_bytes());
            }
            bytes.extend(kind.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(32) + 64 + 12, 7);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Gguf> {
        Gguf::read(bytes, bytes.len() as u64)
    }

    /// `bytes` with `old` replaced by `new`, both of one length.
    fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
        assert_eq!(old.len(), new.len());
        let at = bytes.windows(old.len()).position(|window| window == old).unwrap();
        [&bytes[..at], new, &bytes[at + old.len()..]].concat()
    }

    #[test]
    fn a_list_that_would_fill_the_memory_is_refused() {
        let count = MOST_ENTRIES + 1;
        let list = [&0_u32.to_le_bytes()[..], &count.to_le_bytes(), &vec![1; count as usize]].concat();
        let head = [&b"GGUF"[..], &3_u32.to_le_bytes(), &0_u64.to_le_bytes(), &1_u64.to_le_bytes()].concat();
        let error = read(&[head, entry("bytes", 9, &list)].concat()).unwrap_err();
        assert!(error.kind() == ErrorKind::Corrupt && error.message().contains("entries"), "{error}");
    }

    #[test]
    fn a_whole_file_is_read() {
        let gguf = read(&file()).unwrap();
        assert_eq!(gguf.text("general.architecture").unwrap(), "llama");
        assert_eq!(gguf.integer("llama.block_count").unwrap(), 30);
        assert!(gguf.texts("tokens").unwrap().iter().eq(["a", "é"]));
        assert_eq!(gguf.tensors["one"].size, 40);
        assert_eq!(gguf.tensors["two"].offset, 64);
        assert!(gguf.data_offset.is_multiple_of(32));
    }

    #[test]
    fn each_damage_is_named() {
        let whole = file();
        let refused = |bytes: &[u8], kind: ErrorKind, said: &str| {
            let error = read(bytes).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.message().contains(said), "{error}");
        };
        refused(b"PK\x03\x04 not a model", ErrorKind::Corrupt, "begin with \"GGUF\"");
        refused(b"", ErrorKind::Corrupt, "expected a GGUF file");
        refused(&whole[..whole.len() - 1], ErrorKind::Corrupt, "ends outside the file");
        refused(&replaced(&whole, b"GGUF\x03", b"GGUF\x09"), ErrorKind::Unsupported, "version 9");
        let alignment = |n: u32| entry("general.alignment", 4, &n.to_le_bytes());
        for bad in [0, 33, 1 << 21] {
            refused(&replaced(&whole, &alignment(32), &alignment(bad)), ErrorKind::Corrupt, "power of two");
        }
        let counts = [2_u64.to_le_bytes(), 5_u64.to_le_bytes()].concat();
        let claimed = [2_u64.to_le_bytes(), (u64::MAX / 2).to_le_bytes()].concat();
        refused(&replaced(&whole, &counts, &claimed), ErrorKind::Corrupt, "metadata entries");
        let list = |n: u64| [&8_u32.to_le_bytes()[..], &n.to_le_bytes()].concat();
        refused(&replaced(&whole, &list(2), &list(1 << 40)), ErrorKind::Corrupt, "list entries");
        let place = |kind: u32, offset: u64| [&kind.to_le_bytes()[..], &offset.to_le_bytes()].concat();
        refused(&replaced(&whole, &place(0, 64), &place(0, 0)), ErrorKind::Corrupt, "overlap");
        refused(&replaced(&whole, &place(0, 64), &place(0, 63)), ErrorKind::Corrupt, "aligned");
        refused(&replaced(&whole, &place(0, 64), &place(0, u64::MAX)), ErrorKind::Corrupt, "outside the file");
        refused(&replaced(&whole, &place(0, 64), &place(4, 64)), ErrorKind::Unsupported, "quantised");
        let dims = |a: u64, b: u64| [a.to_le_bytes(), b.to_le_bytes()].concat();
        for (a, b) in [(31, 2), (0, 2), (32, u64::MAX)] {
            refused(&replaced(&whole, &dims(32, 2), &dims(a, b)), ErrorKind::Corrupt, "shape");
        }
    }

    #[test]
    fn a_cut_at_any_byte_is_refused() {
        let whole = file();
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "cut at {end}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn flipped_bytes_never_panic(flips in prop::collection::vec((0_usize..1 << 16, any::<u8>()), 1..6)) {
            let mut bytes = file();
            for (at, value) in flips {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            if let Ok(gguf) = read(&bytes) {
                for tensor in gguf.tensors.values() {
                    prop_assert!(gguf.data_offset + tensor.offset + tensor.size <= bytes.len() as u64);
                }
            }
        }

        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let bytes = [b"GGUF\x03\0\0\0", &bytes[..]].concat();
            let _ = read(&bytes);
        }
    }
}

//! A chat model on the disk, and its weights, packed as they are read. Nothing is memory-mapped: a file that another
//! program cuts off gives an error of reading, where a mapping would end the process by a signal.

use std::{
    fs::{self, File},
    io::{self, BufReader},
    ops::Range,
    path::Path,
    time::SystemTime,
};

use candle_core::{
    Device,
    quantized::{GgmlDType, ggml_file::qtensor_from_ggml},
};
use half::{bf16, f16};

use super::{
    checkpoint::eight_bits,
    folder::Folder,
    gguf::{Gguf, TensorInfo, corrupt},
    kernel::{Matrix, Quantised},
    tokenizer::Tokenizer,
};
use crate::error::{Error, Result};

/// Weights of a folder that share a scale in eight bits.
const BLOCK: usize = 32;

/// A chat model on the disk: a GGUF file, or a folder as transformers saves it.
#[derive(Debug)]
pub(super) struct Checkpoint {
    /// What it is; that of a folder is written as its GGUF file would have it.
    pub(super) head: Gguf,
    data: Data,
    bytes: u64,
    changed: Option<SystemTime>,
}

#[derive(Debug)]
enum Data {
    File(File),
    Folder(Box<Folder>),
}

impl Checkpoint {
    /// Reads what the model at `path` is.
    ///
    /// # Errors
    /// `NotFound` when there is none; `Corrupt` when it is not whole; `Unsupported` for one that cannot be loaded.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let absent = |e| {
            Error::not_found("there is no model file here; name a file that exists, or run `triune models pull`")
                .caused_by(e)
        };
        let facts = fs::metadata(path).map_err(absent)?;
        if facts.is_dir() {
            let (head, folder) = Folder::open(path)?;
            let (bytes, changed) = (folder.bytes(), folder.changed());
            return Ok(Self { head, data: Data::Folder(Box::new(folder)), bytes, changed });
        }
        if !facts.is_file() {
            return Err(Error::invalid("a chat model is a GGUF file or a folder, and this is neither"));
        }
        let (file, bytes) = (File::open(path).map_err(absent)?, facts.len());
        let head = Gguf::read(BufReader::with_capacity(1 << 18, &file), bytes)?;
        Ok(Self { head, data: Data::File(file), bytes, changed: facts.modified().ok() })
    }

    /// Its tokenizer.
    pub(super) fn tokenizer(&self) -> Result<Tokenizer> {
        match &self.data {
            Data::File(_) => Tokenizer::new(&self.head),
            Data::Folder(folder) => Tokenizer::of_library(&self.head, folder.tokenizer()),
        }
    }

    /// Bytes of the file, or of all weights in the folder.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that its matrices take in memory, packed as [`Weights::matrix`] packs them.
    pub(super) fn packed_bytes(&self, full_precision: bool) -> u64 {
        let packed = |info: &TensorInfo| {
            let (cols, rows) = (*info.dims.first()? as usize, *info.dims.get(1)? as usize);
            let kind = match &self.data {
                _ if full_precision => None,
                Data::File(_) => quantised(info.dtype),
                Data::Folder(_) => cols.is_multiple_of(BLOCK).then_some(Quantised::Q8_0),
            };
            let half = !full_precision && (info.dtype == GgmlDType::F16 || matches!(self.data, Data::Folder(_)));
            Some(Matrix::packed_bytes(kind, if half { 2 } else { 4 }, rows, cols) as u64)
        };
        self.head.tensors.values().filter_map(packed).sum()
    }

    /// Is another one when the files changed.
    pub(super) fn stamp(&self) -> (u64, Option<SystemTime>) {
        (self.bytes, self.changed)
    }

    /// Whether the converter of llama.cpp wrote it.
    pub(super) fn is_converted(&self) -> bool {
        matches!(self.data, Data::File(_))
    }
}

/// The weights of a checkpoint.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    /// Whether they take 32 bits each, and nothing is rounded.
    pub(super) full_precision: bool,
    /// Threads that read a matrix.
    pub(super) threads: usize,
}

impl<'a> Weights<'a> {
    pub(super) fn matrix(&self, name: &str) -> Result<Matrix> {
        self.rows(name, None)
    }

    /// Some rows of a matrix, or all.
    pub(super) fn rows(&self, name: &str, rows: Option<Range<usize>>) -> Result<Matrix> {
        let info = self.info(name)?;
        let (cols, all) = (info.dims[0] as usize, info.dims[1] as usize);
        let rows = rows.unwrap_or(0..all);
        match &self.checkpoint.data {
            Data::File(file) => self.of_file(file, name, info, (cols, all), rows),
            Data::Folder(folder) => self.of_folder(folder, name, cols, rows),
        }
    }

    /// As they are in the file; those that have no kernel and take few bits, in eight.
    fn of_file(
        &self,
        file: &File,
        name: &str,
        info: &TensorInfo,
        (cols, all): (usize, usize),
        rows: Range<usize>,
    ) -> Result<Matrix> {
        let row_bytes = info.size / all as u64;
        let read = |some: Range<usize>, bytes: &mut [u8]| {
            self.read(file, name, info.offset + (rows.start + some.start) as u64 * row_bytes, bytes)
        };
        if let Some(kind) = quantised(info.dtype).filter(|_| !self.full_precision) {
            return Matrix::read(kind, rows.len(), cols, self.threads, read);
        }
        let numbers = |some: Range<usize>| {
            let mut bytes = vec![0; row_bytes as usize * some.len()];
            read(some.clone(), &mut bytes)?;
            floats(info.dtype, vec![some.len(), cols], &bytes, name)
        };
        if matches!(info.dtype, GgmlDType::Q2K | GgmlDType::Q3K) && !self.full_precision {
            return eight(rows.len(), cols, self.threads, numbers);
        }
        if !matches!(info.dtype, GgmlDType::F16 | GgmlDType::BF16) || self.full_precision {
            return Ok(Matrix::float(rows.len(), cols, &numbers(0..rows.len())?));
        }
        let mut bytes = vec![0; row_bytes as usize * rows.len()];
        read(0..rows.len(), &mut bytes)?;
        let pairs = bytes.as_chunks::<2>().0.iter();
        Ok(if info.dtype == GgmlDType::F16 {
            Matrix::half(rows.len(), cols, &pairs.map(|&pair| f16::from_le_bytes(pair)).collect::<Vec<_>>())
        } else {
            Matrix::brain(rows.len(), cols, &pairs.map(|&pair| bf16::from_le_bytes(pair)).collect::<Vec<_>>())
        })
    }

    /// In eight bits, where whole blocks of them fit a row, else in sixteen.
    fn of_folder(&self, folder: &Folder, name: &str, cols: usize, rows: Range<usize>) -> Result<Matrix> {
        let numbers = |some: Range<usize>| {
            let from = |row: usize| (rows.start + row) as u64 * cols as u64;
            folder.numbers(name, from(some.start)..from(some.end))
        };
        if self.full_precision {
            return Ok(Matrix::float(rows.len(), cols, &numbers(0..rows.len())?));
        }
        if !cols.is_multiple_of(BLOCK) {
            let halves: Vec<_> = numbers(0..rows.len())?.into_iter().map(f16::from_f32).collect();
            return Ok(Matrix::half(rows.len(), cols, &halves));
        }
        eight(rows.len(), cols, self.threads, numbers)
    }

    pub(super) fn numbers(&self, name: &str) -> Result<Vec<f32>> {
        let info = self.info(name)?;
        match &self.checkpoint.data {
            Data::File(file) => {
                let mut bytes = vec![0; info.size as usize];
                self.read(file, name, info.offset, &mut bytes)?;
                floats(info.dtype, info.dims.iter().rev().map(|&dim| dim as usize).collect(), &bytes, name)
            }
            Data::Folder(folder) => folder.numbers(name, 0..info.dims.iter().product()),
        }
    }

    fn info(&self, name: &str) -> Result<&'a TensorInfo> {
        self.checkpoint.head.tensors.get(name).ok_or_else(|| corrupt(format!("tensor \"{name}\" is missing")))
    }

    /// Reads what lies at `offset` of the tensor data. The head was checked: every tensor lies inside the file.
    fn read(&self, file: &File, name: &str, offset: u64, bytes: &mut [u8]) -> Result<()> {
        read_at(file, self.checkpoint.head.data_offset + offset, bytes)
            .map_err(|e| corrupt(format!("tensor \"{name}\" cannot be read; download the file again")).caused_by(e))
    }
}

/// A matrix in eight bits, of the numbers that `read` gives for some rows.
fn eight(
    rows: usize,
    cols: usize,
    threads: usize,
    read: impl Fn(Range<usize>) -> Result<Vec<f32>> + Sync,
) -> Result<Matrix> {
    Matrix::read(Quantised::Q8_0, rows, cols, threads, |some, bytes| {
        bytes.copy_from_slice(&eight_bits(&read(some)?));
        Ok(())
    })
}

/// Reads the bytes at a place of a file, without a place of its own that threads would share.
#[cfg(unix)]
pub(super) fn read_at(file: &File, at: u64, bytes: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

/// Reads the bytes at a place of a file, without a place of its own that threads would share.
#[cfg(windows)]
pub(super) fn read_at(file: &File, mut at: u64, mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_read(file, bytes, at)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        (at, bytes) = (at + count as u64, &mut bytes[count..]);
    }
    Ok(())
}

/// The kind that has a kernel of its own.
fn quantised(dtype: GgmlDType) -> Option<Quantised> {
    Some(match dtype {
        GgmlDType::Q4_0 => Quantised::Q4_0,
        GgmlDType::Q4_1 => Quantised::Q4_1,
        GgmlDType::Q5_0 => Quantised::Q5_0,
        GgmlDType::Q5_1 => Quantised::Q5_1,
        GgmlDType::Q8_0 => Quantised::Q8_0,
        GgmlDType::Q4K => Quantised::Q4K,
        GgmlDType::Q5K => Quantised::Q5K,
        GgmlDType::Q6K => Quantised::Q6K,
        _ => return None,
    })
}

/// The weights as candle reads them, in 32 bits.
fn floats(dtype: GgmlDType, dims: Vec<usize>, bytes: &[u8], name: &str) -> Result<Vec<f32>> {
    let read = qtensor_from_ggml(dtype, bytes, dims, &Device::Cpu)
        .and_then(|tensor| tensor.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1());
    read.map_err(|e| corrupt(format!("tensor \"{name}\" cannot be loaded; download the file again")).caused_by(e))
}

#[cfg(test)]
mod tests {
    use candle_core::{
        Tensor,
        quantized::{QTensor, gguf_file},
    };

    use super::*;
    use crate::error::ErrorKind;

    const ROWS: usize = 40;
    const COLS: usize = 512;

    fn file(dtype: GgmlDType) -> (tempfile::TempDir, Checkpoint) {
        let numbers: Vec<f32> = (0..ROWS * COLS).map(|i| (i as f32 * 0.61).sin() * (i % 7) as f32 * 0.1).collect();
        let tensor = Tensor::new(numbers, &Device::Cpu).unwrap().reshape((ROWS, COLS)).unwrap();
        let tensor = QTensor::quantize(&tensor, dtype).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.gguf");
        gguf_file::write(&mut File::create(&path).unwrap(), &[], &[("a.weight", &tensor)]).unwrap();
        let checkpoint = Checkpoint::open(&path).unwrap();
        (folder, checkpoint)
    }

    fn rows(matrix: &Matrix) -> Vec<Vec<f32>> {
        (0..matrix.rows())
            .map(|row| {
                let mut numbers = vec![0.0; matrix.cols()];
                matrix.row(row, &mut numbers);
                numbers
            })
            .collect()
    }

    /// No type takes much more memory than in the file, but for those of few bits, which take eight and a half.
    #[test]
    fn weights_stay_small_and_near() {
        let types = [
            (GgmlDType::BF16, 16.0, 0.0),
            (GgmlDType::F16, 16.0, 0.0),
            // Half a step of eight bits, and what the scale is rounded by.
            (GgmlDType::Q2K, 8.5, 0.5 / 127.0 + 1.0 / 2048.0),
            (GgmlDType::Q3K, 8.5, 0.5 / 127.0 + 1.0 / 2048.0),
            (GgmlDType::Q4K, 6.0, 1e-6),
            (GgmlDType::F32, 32.0, 0.0),
        ];
        for (dtype, bits, error) in types {
            let (_folder, checkpoint) = file(dtype);
            let of = |full_precision| Weights { checkpoint: &checkpoint, full_precision, threads: 2 };
            let (exact, found) = (of(true).matrix("a.weight").unwrap(), of(false).matrix("a.weight").unwrap());
            // Of rows in whole tiles.
            let weights = (ROWS.next_multiple_of(16) * COLS) as f64;
            assert_eq!((found.bytes() as f64 * 8.0 / weights, exact.bytes() as f64 * 8.0 / weights), (bits, 32.0));
            for (exact, found) in rows(&exact).iter().zip(rows(&found)) {
                for (exact, found) in exact.chunks(32).zip(found.chunks(32)) {
                    let largest = exact.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
                    let furthest = exact.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(furthest <= error * largest, "{dtype:?}: {furthest} of {largest}");
                }
            }
            let some = of(false).rows("a.weight", Some(17..19)).unwrap();
            assert_eq!(rows(&some), rows(&found)[17..19], "{dtype:?}");
        }
    }

    /// Weights are read, not mapped: what is cut off while it is read is an error, and no fault of the process.
    #[test]
    fn a_file_that_is_cut_off_while_it_is_read_is_told() {
        for dtype in [GgmlDType::Q8_0, GgmlDType::Q2K, GgmlDType::BF16, GgmlDType::F32] {
            let (folder, checkpoint) = file(dtype);
            let whole = checkpoint.bytes();
            File::options().write(true).open(folder.path().join("one.gguf")).unwrap().set_len(whole / 2).unwrap();
            let weights = Weights { checkpoint: &checkpoint, full_precision: false, threads: 2 };
            assert_eq!(weights.matrix("a.weight").unwrap_err().kind(), ErrorKind::Corrupt, "{dtype:?}");
            assert_eq!(weights.numbers("a.weight").unwrap_err().kind(), ErrorKind::Corrupt, "{dtype:?}");
        }
    }
}

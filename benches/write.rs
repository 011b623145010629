//! Speed of writing a weight file, beside plain writes of as many bytes: both synced to the disk.
//!
//! `cargo bench --bench write` writes 512 MB at a time into TMPDIR. What a weight file takes on top
//! is the hash of its content.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use evalkit::package::blob::{BlobType, BlobWriter};

const BLOBS: usize = 16;
const BLOB_BYTES: usize = 32 << 20;
const BUFFER_BYTES: usize = 1 << 20;

fn file(folder: &Path) -> File {
    File::create(folder.join("weight.bin")).expect("a file")
}

fn writing(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes: Vec<u8> = (0..BLOB_BYTES).map(|at| (at * 31 % 251) as u8).collect();
    let mut group = criterion.benchmark_group("write");
    group.throughput(Throughput::Bytes((BLOBS * BLOB_BYTES) as u64)).sample_size(10);
    group.bench_function("plain", |bencher| {
        bencher.iter(|| {
            let mut out = BufWriter::with_capacity(BUFFER_BYTES, file(folder.path()));
            for _ in 0..BLOBS {
                out.write_all(&bytes).expect("room");
            }
            out.into_inner().expect("room").sync_all().expect("a disk");
        });
    });
    group.bench_function("weight file", |bencher| {
        bencher.iter(|| {
            let out = BufWriter::with_capacity(BUFFER_BYTES, file(folder.path()));
            let mut blobs = BlobWriter::new(out).expect("room");
            for _ in 0..BLOBS {
                blobs.append(BlobType::Uint8, BLOB_BYTES as u64, &bytes).expect("room");
            }
            let (out, _) = blobs.finish().expect("room");
            out.into_inner().expect("room").sync_all().expect("a disk");
        });
    });
}

criterion_group!(benches, writing);
criterion_main!(benches);

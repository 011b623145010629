//! Speed of a packed weight times one row of activations, in weights per second.
//!
//! `cargo bench --bench execute` prints elements per second; an element is a weight. Weights of
//! each width are decoded as they are multiplied, on all threads of rayon's pool.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use evalkit::package::constexpr::PackedWeight;
use evalkit::package::execute::multiply::multiply;
use evalkit::package::read::literal::LiteralTensor;
use evalkit::package::spec::DataType;
use rand::{RngExt, SeedableRng};

fn literal(data_type: DataType, shape: &[usize], bytes: Vec<u8>) -> LiteralTensor {
    LiteralTensor { data_type, shape: shape.to_vec(), bytes: bytes.into(), text: None }
}

fn plain(data_type: DataType, shape: &[usize], bytes: Vec<u8>) -> PackedWeight {
    PackedWeight::plain(&literal(data_type, shape, bytes)).expect("a good literal")
}

/// fp16 numbers near one.
fn halves(random: &mut impl RngExt, len: usize) -> Vec<u8> {
    (0..len).flat_map(|_| [random.random(), random.random_range(56..60)]).collect()
}

fn palette(
    random: &mut impl RngExt,
    shape: [usize; 2],
    data_type: DataType,
    bits: usize,
) -> PackedWeight {
    let codes = (0..shape[0] * shape[1] * bits / 8).map(|_| random.random()).collect();
    let tables = [shape[0] / 16, 1, 1 << bits, 1];
    let tables = plain(DataType::Float16, &tables, halves(random, tables.iter().product()));
    PackedWeight::palette(&literal(data_type, &shape, codes), &tables, None).expect("a palette")
}

/// One table of vectors of `length` weights for codes of `bits` bits.
fn vectors(
    random: &mut impl RngExt,
    shape: [usize; 2],
    (data_type, bits): (DataType, usize),
    length: usize,
) -> PackedWeight {
    let codes = [shape[0] / length, shape[1]];
    let bytes = (0..codes[0] * codes[1] * bits / 8).map(|_| random.random()).collect();
    let table = [1, 1, 1 << bits, length];
    let table = plain(DataType::Float16, &table, halves(random, length << bits));
    PackedWeight::palette(&literal(data_type, &codes, bytes), &table, Some(0)).expect("vectors")
}

fn int4(random: &mut impl RngExt, shape: [usize; 2]) -> PackedWeight {
    let codes = (0..shape[0] * shape[1] / 2).map(|_| random.random()).collect();
    let cells = [shape[0], shape[1] / 32];
    let scales = plain(DataType::Float16, &cells, halves(random, cells[0] * cells[1]));
    PackedWeight::scaled(plain(DataType::Int4, &shape, codes), &scales, None).expect("scales")
}

fn multiplying(criterion: &mut Criterion) {
    let random = &mut rand_chacha::ChaCha8Rng::seed_from_u64(1);
    for shape in [[2048, 2048], [8192, 2048]] {
        let half = plain(DataType::Float16, &shape, halves(random, shape[0] * shape[1]));
        let weights = [
            ("fp16", half),
            ("palette8", palette(random, shape, DataType::Uint8, 8)),
            ("palette4", palette(random, shape, DataType::Uint4, 4)),
            ("palette2", palette(random, shape, DataType::Uint2, 2)),
            ("palette1", palette(random, shape, DataType::Uint1, 1)),
            ("int4", int4(random, shape)),
            ("vector4-d2", vectors(random, shape, (DataType::Uint8, 8), 2)),
            ("vector2-d4", vectors(random, shape, (DataType::Uint8, 8), 4)),
            ("vector1-d8", vectors(random, shape, (DataType::Uint8, 8), 8)),
            ("vector1-d4", vectors(random, shape, (DataType::Uint4, 4), 4)),
        ];
        for rows in [1, 64] {
            let name = format!("{} x {}, {rows} rows", shape[0], shape[1]);
            let mut group = criterion.benchmark_group(name);
            let x: Vec<f32> = (0..rows * shape[1]).map(|_| random.random()).collect();
            for (name, weight) in &weights {
                group.throughput(Throughput::Elements(weight.elements() as u64)).sample_size(10);
                group.bench_function(*name, |bench| bench.iter(|| multiply(weight, black_box(&x))));
            }
            group.finish();
        }
    }
}

criterion_group!(benches, multiplying);
criterion_main!(benches);

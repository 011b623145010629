//! What a Hugging Face file of a family calls each tensor, and which part of the file's tensor it is.
//! Splitting and reordering change only byte ranges and row orders; nothing is read or copied.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::config::Config;
use super::experts;
use super::families::{self, ExpertStorage, Fused, Layout};
use super::head_order::HeadOrder;
use super::missing::missing;
use super::names::TensorId;
use super::roles::Role;
use super::stored::{RowOrder, StoredTensor};
use crate::error::{Error, Result};

/// A tensor of a file, and the part of it that one of ours is.
#[derive(Debug, Clone)]
pub struct Source {
    /// The tensor's name in the file.
    pub name: String,
    part: Part,
}

/// The part of a file's tensor that is one of ours.
#[derive(Debug, Clone)]
enum Part {
    Whole,
    /// Rows of all rows, or elements of a vector.
    Rows {
        rows: Range<usize>,
        of: usize,
    },
    /// The `index`-th of `count` parts of each head of `dim` rows.
    OfHeads {
        index: usize,
        count: usize,
        dim: usize,
    },
    /// Rows of one of several stacked matrices.
    OfStack {
        expert: usize,
        experts: usize,
        rows: Range<usize>,
        of: usize,
    },
}

/// Where files of a family have their tensors.
pub struct FileLayout<'a> {
    config: &'a Config,
    layout: &'static Layout,
    /// Names of roles that the layout does not name, before Llama's.
    names: &'static [(Role, &'static str)],
    storage: Option<ExpertStorage>,
    /// Whether files store the gains of norms minus 1.
    minus_one: bool,
    order: HeadOrder,
}

/// How files of another kind than the family's own name and store tensors.
pub struct OtherLayout {
    /// Names and fused tensors.
    pub layout: &'static Layout,
    /// Names of roles that the layout does not name.
    pub names: &'static [(Role, &'static str)],
    /// Where the experts of mixtures are.
    pub experts: ExpertStorage,
    /// Whether the halves of each head of q and k are interleaved.
    pub is_permuted: bool,
}

impl<'a> FileLayout<'a> {
    /// The layout of a model's files.
    ///
    /// # Errors
    /// A bug-class error for a family that is not in the table.
    pub fn new(config: &'a Config) -> Result<Self> {
        let family = families::named(config.family)
            .ok_or_else(|| Error::bug(format!("no family is called {}", config.family)))?;
        let order = if family.rope.neighbours { HeadOrder::Neighbours } else { HeadOrder::Own };
        Ok(FileLayout {
            config,
            layout: &family.layout,
            names: &[],
            storage: family.mixture.map(|row| row.storage),
            minus_one: family.norm.minus_one,
            order,
        })
    }

    /// The layout of other files, which store the gains of norms as they are.
    ///
    /// # Errors
    /// As [`FileLayout::new`].
    pub fn of_others(config: &'a Config, other: OtherLayout) -> Result<Self> {
        let own = Self::new(config)?;
        let OtherLayout { layout, names, experts, is_permuted } = other;
        let order = if is_permuted { HeadOrder::Permuted } else { own.order };
        let storage = own.storage.map(|_| experts);
        Ok(FileLayout { config, layout, names, storage, minus_one: false, order })
    }

    /// What stands before the names of the family's files.
    pub fn prefix(&self) -> &'static str {
        self.layout.prefix
    }

    /// The places where a file may have the tensor `id`, the most usual first.
    pub fn sources(&self, id: TensorId) -> Vec<Source> {
        if let Some(expert) = id.expert {
            return self.of_expert(id, expert);
        }
        let mut sources = Vec::new();
        let fused = self.layout.fused.iter().find(|fused| fused.parts.contains(&id.role));
        if let (Some(fused), Some(layer)) = (fused, id.layer) {
            sources.push(self.of_fused(fused, id, layer));
        }
        let whole = |name: String| Source { name, part: Part::Whole };
        sources.push(whole(self.name_of(id, self.stem(id.role))));
        let canonical = id.name();
        if self.is_llama_like() && sources.iter().all(|source| source.name != canonical) {
            sources.push(whole(canonical));
        }
        sources
    }

    /// Whether names that are not the family's own cannot be those of another role.
    fn is_llama_like(&self) -> bool {
        let names = self.layout.names;
        self.names.is_empty()
            && names.iter().all(|(role, _)| matches!(role, Role::Router | Role::Head))
    }

    fn stem(&self, role: Role) -> &'static str {
        let own = self.layout.names.iter().chain(self.names).find(|(own, _)| *own == role);
        own.map_or_else(|| role.stem().trim_start_matches("model."), |(_, name)| name)
    }

    fn name_of(&self, id: TensorId, stem: &str) -> String {
        let layout = self.layout;
        let kind = match id.role {
            role if layout.exact.contains(&role) => "",
            _ if id.bias => ".bias",
            _ => ".weight",
        };
        match id.layer {
            Some(layer) => format!("{}{}.{layer}.{stem}{kind}", layout.prefix, layout.layers),
            None if id.role == Role::Head => format!("{stem}{kind}"),
            None => format!("{}{stem}{kind}", layout.prefix),
        }
    }

    fn of_fused(&self, fused: &Fused, id: TensorId, layer: usize) -> Source {
        let name = self.name_of(TensorId { layer: Some(layer), ..id }, fused.name);
        let rows_of = |role: &Role| self.config.shape_of(TensorId::block(layer, *role))[0];
        let index = fused.parts.iter().position(|part| *part == id.role).unwrap_or(0);
        let part = if fused.by_head {
            Part::OfHeads { index, count: fused.parts.len(), dim: self.config.head_dim }
        } else {
            let first: usize = fused.parts[..index].iter().map(rows_of).sum();
            let rows = first..first + rows_of(&id.role);
            Part::Rows { rows, of: fused.parts.iter().map(rows_of).sum() }
        };
        Source { name, part }
    }

    fn of_expert(&self, id: TensorId, expert: usize) -> Vec<Source> {
        let layout = self.layout;
        let layer = id.layer.unwrap_or(0);
        let place = format!("{}{}.{layer}.{}", layout.prefix, layout.layers, layout.experts);
        let kind = if id.bias { "bias" } else { "weight" };
        let at = match id.role {
            Role::Gate => 0,
            Role::Up => 1,
            _ => 2,
        };
        let whole = |name: String| Source { name, part: Part::Whole };
        match self.storage {
            Some(ExpertStorage::Each(names)) => {
                let each = whole(format!("{place}.{expert}.{}.{kind}", names[at]));
                // As transformers 5 holds them in memory.
                let stacked = ["gate_up_proj", "down_proj"].map(|name| format!("{place}.{name}"));
                vec![each, self.of_stack(stacked, id, expert)]
            }
            Some(ExpertStorage::StackedEach(names)) => {
                let stem = self.name_of(TensorId { expert: None, ..id }, names[at]);
                let rows = self.config.shape_of(TensorId { bias: false, ..id })[0];
                let experts = self.config.experts.as_ref().map_or(0, |experts| experts.count);
                let part = Part::OfStack { expert, experts, rows: 0..rows, of: rows };
                vec![Source { name: stem, part }]
            }
            Some(ExpertStorage::Stacked(names)) => {
                let names = names.map(|name| format!("{place}.{name}.{kind}"));
                vec![self.of_stack(names, id, expert)]
            }
            Some(ExpertStorage::Interleaved) | None => vec![whole(id.name())],
        }
    }

    fn of_stack(&self, names: [String; 2], id: TensorId, expert: usize) -> Source {
        let experts = self.config.experts.as_ref().map_or(0, |experts| experts.count);
        let rows = self.config.shape_of(TensorId { bias: false, ..id })[0];
        let [gate_up, down] = names;
        let (name, rows, of) = match id.role {
            Role::Gate => (gate_up, 0..rows, 2 * rows),
            Role::Up if self.config.gated => (gate_up, rows..2 * rows, 2 * rows),
            Role::Up => (gate_up, 0..rows, rows),
            _ => (down, 0..rows, rows),
        };
        Source { name, part: Part::OfStack { expert, experts, rows, of } }
    }

    /// The names under which an index may list the tensor `id`, or the tensor that contains it.
    pub fn names(&self, id: TensorId) -> Vec<String> {
        let packed = match self.storage {
            Some(ExpertStorage::Interleaved) => experts::packed_names(id),
            _ => Vec::new(),
        };
        if !packed.is_empty() {
            return packed;
        }
        self.sources(id).into_iter().map(|source| source.name).collect()
    }

    /// Whether the file's tensor `name` is passed over.
    pub fn is_ignored(&self, name: &str) -> bool {
        let after_last = || {
            // Layers for the prediction of several tokens stand behind the model's own.
            let layout = self.layout;
            let rest = name.strip_prefix(layout.prefix)?.strip_prefix(layout.layers)?;
            let number: usize = rest.strip_prefix('.')?.split('.').next()?.parse().ok()?;
            let own = self.config.layers;
            Some((own..own.saturating_add(self.config.next_token_layers)).contains(&number))
        };
        let layout = self.layout;
        layout.ignored.iter().any(|end| name.ends_with(end))
            || after_last() == Some(true)
            || name.contains(".mtp_")
            || name.starts_with("mtp.")
    }

    /// The tensors of the architecture among those of the files. What is left in `found` belongs to none
    /// of them.
    ///
    /// # Errors
    /// Input errors: a tensor that is missing, or a shape that does not fit.
    pub fn assign(
        &self,
        found: &mut BTreeMap<String, StoredTensor>,
    ) -> Result<BTreeMap<TensorId, StoredTensor>> {
        let tensors = self.assign_present(found)?;
        found.retain(|name, _| !self.is_ignored(name));
        match self.config.tensors().into_iter().find(|id| !tensors.contains_key(id)) {
            Some(id) => Err(missing(id, &self.sources(id)[0].name)),
            None => Ok(tensors),
        }
    }

    /// The same where a tensor may be missing. Nothing is passed over.
    ///
    /// # Errors
    /// Input errors: a shape that does not fit.
    pub fn assign_present(
        &self,
        found: &mut BTreeMap<String, StoredTensor>,
    ) -> Result<BTreeMap<TensorId, StoredTensor>> {
        let (mut tensors, mut used) = (BTreeMap::new(), BTreeSet::new());
        for id in self.config.tensors() {
            let sources = self.sources(id);
            if let Some(source) = sources.iter().find(|source| found.contains_key(&source.name)) {
                tensors.insert(id, self.part(&found[&source.name], source, id)?);
                used.insert(source.name.clone());
            }
        }
        found.retain(|name, _| !used.contains(name));
        Ok(tensors)
    }

    /// One of our tensors as a part of a file's.
    fn part(&self, stored: &StoredTensor, source: &Source, id: TensorId) -> Result<StoredTensor> {
        let expected = self.config.shape_of(id);
        let is_transposed = self.layout.transposed && expected.len() == 2 && id.layer.is_some();
        let all_rows = match &source.part {
            Part::Whole => expected[0],
            Part::Rows { of, .. } => *of,
            Part::OfHeads { count, .. } => expected[0] * count,
            Part::OfStack { of, .. } => *of,
        };
        let mut shape = expected.clone();
        shape[0] = all_rows;
        if is_transposed {
            shape.reverse();
        }
        if let Part::OfStack { experts, .. } = source.part {
            shape.insert(0, experts);
        }
        let same_elements =
            stored.shape.iter().product::<usize>() == shape.iter().product::<usize>();
        if stored.shape != shape && !(self.may_be_reshaped(id.role) && same_elements) {
            let what = format!("expected shape {shape:?}, found {:?}", stored.shape);
            return Err(Error::input(what).at(format!("tensor {}", stored.name)));
        }
        let mut tensor = StoredTensor { shape: expected, ..stored.clone() };
        let columns = if tensor.shape.len() == 1 { 1 } else { tensor.matrix()[1] };
        match &source.part {
            Part::Whole if is_transposed => {
                tensor.rows = RowOrder::Transposed { step: 1, first: 0, width: all_rows };
            }
            Part::Rows { rows, of } if is_transposed => {
                tensor.rows = RowOrder::Transposed { step: 1, first: rows.start, width: *of };
            }
            Part::Whole => {}
            Part::Rows { rows, .. } => cut(&mut tensor, rows.clone(), columns)?,
            Part::OfHeads { index, count, dim } => {
                let (step, first) = (count * dim, index * dim);
                tensor.rows = RowOrder::Blocks { rows: *dim, step, first };
            }
            Part::OfStack { expert, experts, rows, of } => {
                // One factor for each expert.
                if let Some(scales) = &mut tensor.scales {
                    let each = scales.range.len() / experts.max(&1);
                    let start = scales.range.start + expert * each;
                    scales.range = start..start + each;
                }
                let rows = expert * of + rows.start..expert * of + rows.end;
                cut(&mut tensor, rows, columns)?;
                tensor.name = format!("{}[{expert}]", stored.name);
            }
        }
        if let Some(order) = self.order.of(self.config, id) {
            if tensor.rows != RowOrder::Plain {
                return Err(Error::bug(format!("{}: two orders of rows", id.name())));
            }
            tensor.rows = order;
        }
        tensor.minus_one = self.minus_one && id.role.is_norm() && !id.bias;
        Ok(tensor)
    }

    /// Whether files may store the role's numbers in another shape.
    fn may_be_reshaped(&self, role: Role) -> bool {
        use Role::*;
        matches!(role, QueryNorm | KeyNorm | ConvKernel | RouterCorrection)
    }
}

/// Makes a tensor rows of itself, which have `columns` elements each.
fn cut(tensor: &mut StoredTensor, rows: Range<usize>, columns: usize) -> Result<()> {
    let row_bytes = tensor.dtype.row_bytes(columns);
    let row_bytes = row_bytes.ok_or_else(|| {
        Error::input(format!(
            "rows of {columns} weights do not consist of whole {} blocks",
            tensor.dtype.name()
        ))
        .at(format!("tensor {}", tensor.name))
    })?;
    let range = rows.start * row_bytes..rows.end * row_bytes;
    if range.end > tensor.range.len() {
        return Err(Error::input("it has fewer bytes than its shape needs")
            .at(format!("tensor {}", tensor.name)));
    }
    tensor.range = tensor.range.start + range.start..tensor.range.start + range.end;
    Ok(())
}

//! Labels whose values are all known, so that the number of series is bounded, and metrics with a
//! cell for each value: finding a cell is indexing an array.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// A label of a metric.
pub trait Label: Copy + fmt::Debug + Send + Sync + 'static {
    /// Its name.
    const NAME: &'static str;
    /// What it can be, in the order of [`Label::index`].
    const ALL: &'static [Self];

    /// The value as it is shown.
    fn value(self) -> &'static str;

    /// The position among [`Label::ALL`].
    fn index(self) -> usize;
}

/// The labels of a metric: one, or two.
pub trait Labels: Copy + fmt::Debug + Send + Sync + 'static {
    /// All combinations, in the order of [`Labels::index`].
    fn all() -> impl Iterator<Item = Self>;

    /// The position among [`Labels::all`].
    fn index(self) -> usize;

    /// Names and values as they are shown.
    fn pairs(self) -> Vec<(&'static str, &'static str)>;
}

impl<L: Label> Labels for L {
    fn all() -> impl Iterator<Item = Self> {
        L::ALL.iter().copied()
    }

    fn index(self) -> usize {
        Label::index(self)
    }

    fn pairs(self) -> Vec<(&'static str, &'static str)> {
        vec![(L::NAME, self.value())]
    }
}

impl<A: Label, B: Label> Labels for (A, B) {
    fn all() -> impl Iterator<Item = Self> {
        A::ALL
            .iter()
            .flat_map(|a| B::ALL.iter().map(move |b| (*a, *b)))
    }

    fn index(self) -> usize {
        let (a, b) = self;
        Label::index(a) * B::ALL.len() + Label::index(b)
    }

    fn pairs(self) -> Vec<(&'static str, &'static str)> {
        let (a, b) = self;
        vec![(A::NAME, a.value()), (B::NAME, b.value())]
    }
}

/// Declares a label: the type, the label's name, and its values.
macro_rules! label {
    (
        $(#[$about:meta])*
        $type:ident = $name:literal {
            $($(#[$doc:meta])* $variant:ident = $value:literal,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $type {
            $($(#[$doc])* $variant,)+
        }

        impl $crate::metrics::label::Label for $type {
            const NAME: &'static str = $name;
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn value(self) -> &'static str {
                match self {
                    $(Self::$variant => $value,)+
                }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

pub(super) use label;

/// A metric with a cell for each value of its labels. Clones share the cells.
pub struct Cells<L, M> {
    cells: Arc<[M]>,
    labels: PhantomData<fn() -> L>,
}

impl<L: Labels, M> Cells<L, M> {
    /// The cells that `make` makes.
    pub(super) fn from_fn(make: impl FnMut(L) -> M) -> Self {
        Self {
            cells: L::all().map(make).collect(),
            labels: PhantomData,
        }
    }

    /// The cell of these labels.
    pub fn of(&self, labels: L) -> &M {
        &self.cells[labels.index()]
    }
}

impl<L: Labels, M: Default> Default for Cells<L, M> {
    fn default() -> Self {
        Self::from_fn(|_| M::default())
    }
}

impl<L, M> Clone for Cells<L, M> {
    fn clone(&self) -> Self {
        Self {
            cells: Arc::clone(&self.cells),
            labels: PhantomData,
        }
    }
}

impl<L, M: TypedMetric> TypedMetric for Cells<L, M> {
    const TYPE: MetricType = M::TYPE;
}

impl<L: Labels, M: EncodeMetric + TypedMetric> EncodeMetric for Cells<L, M> {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        for labels in L::all() {
            let cell = self.of(labels);
            if !cell.is_empty() {
                cell.encode(encoder.encode_family(&labels.pairs())?)?;
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}

impl<L, M> fmt::Debug for Cells<L, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    label! {
        /// A first label.
        Color = "color" { Red = "red", Green = "green", }
    }
    label! {
        /// A second label.
        Size = "size" { Small = "small", Large = "large", Huge = "huge", }
    }

    #[test]
    fn each_combination_has_a_cell_of_its_own() {
        let indices = <(Color, Size)>::all().map(Labels::index);
        assert_eq!(indices.collect::<Vec<_>>(), (0..6).collect::<Vec<_>>());
        assert_eq!(
            (Color::Green, Size::Huge).pairs(),
            [("color", "green"), ("size", "huge")]
        );
    }
}

//! The figures as one Markdown table.

use crate::closed_loop::Figures;

/// One row of the table.
pub struct Row {
    /// What was measured.
    pub name: String,
    /// The row that it is compared with.
    pub against: Option<usize>,
    /// One entry per round.
    pub rounds: Vec<Figures>,
}

/// All rows. Each figure is the median over the rounds, and the ratio is the median of the ratios
/// of the rounds.
pub fn markdown(rows: &[Row]) -> String {
    let mut table = String::from(
        "| | server CPU per request | server CPU against | requests/s | p50 | p99 |\n|---|--:|--:|--:|--:|--:|\n",
    );
    for row in rows {
        let figure = |read: fn(&Figures) -> f64| median(row.rounds.iter().map(read));
        let (p50, p99) = (figure(|f| f.p50) / 1000.0, figure(|f| f.p99) / 1000.0);
        let (rate, cpu) = (figure(|f| f.rate), figure(|f| f.cpu));
        table.extend([format!(
            "| {} | {cpu:.1} µs | {} | {rate:.0} | {p50:.2} ms | {p99:.2} ms |\n",
            row.name,
            against(row, rows)
        )]);
    }
    table
}

fn against(row: &Row, rows: &[Row]) -> String {
    let Some(other) = row.against.and_then(|index| rows.get(index)) else {
        return String::new();
    };
    let ratios = row
        .rounds
        .iter()
        .zip(&other.rounds)
        .map(|(own, other)| own.cpu / other.cpu);
    format!("{:.2} of {}", median(ratios), other.name)
}

/// The median; of an even number of values, the upper one of the two in the middle.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

//! What a bench prints: a table of figures on stdout, or one JSON object, and its bars: a figure
//! beside what was promised.

use serde::Serialize;

/// A promise and what was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Bar {
    /// What: `sqlite text recall@10`.
    pub(crate) name: String,
    /// What was measured.
    pub(crate) value: f64,
    /// What was promised.
    pub(crate) target: f64,
    /// How the two compare: `>=` or `<=`.
    pub(crate) op: &'static str,
    /// Whether it held.
    pub(crate) ok: bool,
}

impl Bar {
    /// A figure that must reach `target`.
    pub(crate) fn at_least(name: impl Into<String>, value: f64, target: f64) -> Self {
        Self { name: name.into(), value, target, op: ">=", ok: value >= target }
    }

    /// A figure that must not be over `target`.
    pub(crate) fn at_most(name: impl Into<String>, value: f64, target: f64) -> Self {
        Self { name: name.into(), value, target, op: "<=", ok: value <= target }
    }
}

/// One bench's outcome.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// The bench's name.
    pub(crate) bench: &'static str,
    /// Column heads.
    pub(crate) columns: Vec<&'static str>,
    /// The figures, a row each.
    pub(crate) rows: Vec<Vec<String>>,
    /// What was promised.
    pub(crate) bars: Vec<Bar>,
    /// What a reader must know to judge the figures.
    pub(crate) notes: Vec<String>,
}

impl Report {
    /// Adds a row of four: a database's figure with its unit.
    pub(crate) fn figure(&mut self, database: &str, what: &str, figure: f64, unit: &str) {
        let digits = if figure >= 100.0 { 0 } else { 3 };
        let figure = format!("{figure:.digits$}");
        self.rows.push(vec![database.to_owned(), what.to_owned(), figure, unit.to_owned()]);
    }

    /// Prints the outcome on stdout.
    pub(crate) fn print(&self, json: bool) {
        if json {
            println!("{}", serde_json::to_string_pretty(self).expect("strings and numbers only"));
            return;
        }
        for line in table(&self.columns, &self.rows) {
            println!("{line}");
        }
        for bar in &self.bars {
            let verdict = if bar.ok { "ok  " } else { "MISS" };
            println!("{verdict} {} = {:.4} ({} {})", bar.name, bar.value, bar.op, bar.target);
        }
        for note in &self.notes {
            println!("note: {note}");
        }
    }

    /// Whether every bar held.
    pub(crate) fn held(&self) -> bool {
        self.bars.iter().all(|bar| bar.ok)
    }
}

fn table(columns: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let head: Vec<String> = columns.iter().map(|&column| column.to_owned()).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|at| {
            std::iter::once(&head).chain(rows).map(|row| row[at].chars().count()).max().unwrap_or(0)
        })
        .collect();
    std::iter::once(&head).chain(rows).map(|row| line(row, &widths)).collect()
}

/// The first column to the left, figures to the right.
fn line(row: &[String], widths: &[usize]) -> String {
    let cells: Vec<String> = row
        .iter()
        .zip(widths)
        .enumerate()
        .map(|(at, (cell, width))| match at {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        })
        .collect();
    cells.join("  ").trim_end().to_owned()
}

/// The value below which `share` of the samples lie; samples in any order.
pub(crate) fn percentile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index into a slice"
    )]
    let at = ((sorted.len() as f64 - 1.0) * share).round().max(0.0) as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_in_the_middle() {
        assert!((percentile(&[3.0, 1.0, 2.0], 0.5) - 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn figures_line_up_to_the_right() {
        let lines = table(&["name", "n"], &[vec!["a".into(), "100".into()]]);

        assert_eq!(lines, ["name    n", "a     100"]);
    }
}

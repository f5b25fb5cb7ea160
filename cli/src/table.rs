//! Tables with aligned columns.

use anstyle::{AnsiColor, Style};
use capscache::Escaped;

use crate::output;
use crate::text::Text;

pub(crate) const PLAIN: Style = Style::new();
pub(crate) const HEADING: Style = Style::new().bold();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
pub(crate) const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
pub(crate) const FAINT: Style = Style::new().dimmed();

/// The length of lines of words, which are hard to read if they are longer.
const LINE: usize = 100;

/// One cell of a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    style: Style,
    right: bool,
}

impl Cell {
    pub(crate) fn styled(text: impl Into<String>, style: Style) -> Cell {
        Cell { text: Escaped::new(text.into().trim_end()).to_string(), style, right: false }
    }

    /// Returns a cell with a number, aligned to the right.
    pub(crate) fn number(number: impl ToString) -> Cell {
        Cell { text: Escaped::new(&number.to_string()).to_string(), style: PLAIN, right: true }
    }

    /// Aligns the cell to the right.
    pub(crate) fn right(self) -> Cell {
        Cell { right: true, ..self }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::styled(text, PLAIN)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::styled(text, PLAIN)
    }
}

/// Rows under a heading. Columns that are empty in every row are left out.
#[derive(Debug)]
pub(crate) struct Table {
    heading: Vec<String>,
    rows: Vec<Vec<Cell>>,
    indent: usize,
}

impl Table {
    pub(crate) fn new(heading: &[&str]) -> Table {
        let heading = heading.iter().map(|&text| text.to_owned()).collect();
        Table { heading, rows: Vec::new(), indent: 0 }
    }

    /// Returns a table of names and values, without a heading.
    pub(crate) fn of_pairs() -> Table {
        Table { heading: Vec::new(), rows: Vec::new(), indent: 2 }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    pub(crate) fn row_of(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Adds a name in a faint style, and its value.
    pub(crate) fn pair(&mut self, name: &str, value: impl Into<Cell>) {
        self.row([Cell::styled(name, FAINT), value.into()]);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Renders the table as text with styles; empty if it has no rows. On a terminal cells are wrapped where lines
    /// would be longer than it is wide.
    pub(crate) fn render(&self) -> Text {
        self.render_within(output::columns())
    }

    fn render_within(&self, columns: Option<usize>) -> Text {
        if self.rows.is_empty() {
            return Text::new();
        }
        let number = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let used: Vec<usize> = (0..number)
            .filter(|&at| {
                self.rows.iter().any(|row| row.get(at).is_some_and(|cell| !cell.text.is_empty()))
            })
            .collect();
        let is_right =
            |at: usize| self.rows.iter().filter_map(|row| row.get(at)).any(|cell| cell.right);
        let heading: Vec<Cell> = self
            .heading
            .iter()
            .enumerate()
            .map(|(at, text)| Cell { text: text.clone(), style: HEADING, right: is_right(at) })
            .collect();
        let heading = (!heading.is_empty()).then_some(&heading);
        let rows: Vec<&Vec<Cell>> = heading.into_iter().chain(&self.rows).collect();
        let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(Cell::width).max();
        let mut widths: Vec<usize> = used.iter().map(|&at| width(at).unwrap_or(0)).collect();
        if let Some(columns) = columns {
            narrow(&mut widths, columns.saturating_sub(self.indent));
        }
        let empty = Cell::default();
        let mut text = Text::new();
        for row in rows {
            let cells = used.iter().map(|&at| row.get(at).unwrap_or(&empty));
            let cells: Vec<(&Cell, Vec<&str>)> =
                cells.zip(&widths).map(|(cell, &width)| (cell, lines(&cell.text, width))).collect();
            let height = cells.iter().map(|(_, lines)| lines.len()).max().unwrap_or(0);
            for at in 0..height {
                self.render_line(&cells, &widths, at, &mut text);
            }
        }
        text
    }

    /// Renders one line of a row whose cells may have several.
    fn render_line(
        &self,
        cells: &[(&Cell, Vec<&str>)],
        widths: &[usize],
        at: usize,
        text: &mut Text,
    ) {
        let mut blanks = self.indent;
        for ((cell, lines), width) in cells.iter().zip(widths) {
            let line = lines.get(at).copied().unwrap_or_default();
            let padding = width.saturating_sub(line.chars().count());
            if cell.right {
                blanks += padding;
            }
            if !line.is_empty() {
                // Blanks are written only before a cell, so that no line ends in one.
                text.blanks(blanks);
                text.styled(cell.style, line);
                blanks = 0;
            }
            blanks += if cell.right { 2 } else { padding + 2 };
        }
        text.end();
    }
}

/// Makes the widest columns narrower until all of them and the blanks between them fit, as far as each keeps a width
/// that can be read.
fn narrow(widths: &mut [usize], columns: usize) {
    const LEAST: usize = 16;
    let between = 2 * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + between > columns {
        match widths.iter_mut().max() {
            Some(widest) if *widest > LEAST => *widest -= 1,
            _ => return,
        }
    }
}

/// Splits a text into lines of at most `width` characters: at blanks, or within a word that is longer.
fn lines(text: &str, width: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some((limit, _)) = rest.char_indices().nth(width.max(1)) {
        let begin = &rest[..limit];
        let (line, tail) = match begin.rfind(' ') {
            _ if rest[limit..].starts_with(' ') => (begin, &rest[limit..]),
            Some(blank) if !begin[..blank].trim().is_empty() => rest.split_at(blank),
            _ => rest.split_at(limit),
        };
        lines.push(line.trim_end());
        rest = tail.trim_start();
    }
    lines.push(rest);
    lines
}

/// Returns a key to sort names by, so that `pc-2.9` comes before `pc-2.10`; different for different names.
pub(crate) fn natural_key(name: &str) -> (Vec<(String, u64)>, String) {
    let mut key = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (text, tail) = rest.split_at(text);
        let digits = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
        let (number, tail) = tail.split_at(digits);
        key.push((text.to_owned(), number.parse().unwrap_or(0)));
        rest = tail;
    }
    (key, name.to_owned())
}

/// Formats a size for people.
pub(crate) fn size(bytes: usize) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..1_000_000 => format!("{} KB", bytes / 1000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}

/// Wraps words in indented lines of at most a hundred characters, or of the width of a narrower terminal.
pub(crate) fn wrapped<'a>(words: impl Iterator<Item = &'a str>, indent: usize) -> Text {
    let width = output::columns().map_or(LINE, |columns| columns.min(LINE));
    wrapped_within(words, indent, width)
}

fn wrapped_within<'a>(words: impl Iterator<Item = &'a str>, indent: usize, columns: usize) -> Text {
    let mut text = Text::new();
    let mut column = 0;
    for word in words {
        let word = Escaped::new(word).to_string();
        let width = word.chars().count();
        if column == 0 || column + 1 + width > columns {
            if column > 0 {
                text.end();
            }
            text.blanks(indent);
            column = indent + width;
        } else {
            text.blanks(1);
            column += 1 + width;
        }
        text.add(word);
    }
    if column > 0 {
        text.end();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &Text) -> String {
        anstream::adapter::strip_str(text.with_styles()).to_string()
    }

    #[test]
    fn columns_line_up_and_no_line_ends_in_blanks() {
        let mut table = Table::new(&["NAME", "CPUS", "EMPTY", "NOTE"]);
        table.row(["q35".into(), Cell::number(288), "".into(), "default".into()]);
        table.row(["microvm-long".into(), Cell::number(1), "".into(), "".into()]);
        let expected = "NAME          CPUS  NOTE\n\
                        q35            288  default\n\
                        microvm-long     1\n";
        assert_eq!(plain(&table.render()), expected);
    }

    #[test]
    fn words_are_wrapped_at_a_hundred_characters() {
        let words = vec!["feature"; 20];
        for columns in [LINE, 30] {
            let text = plain(&wrapped_within(words.iter().copied(), 2, columns));
            let fits = |line: &str| line.len() <= columns && line.starts_with("  feature");
            assert!(text.lines().all(fits), "{text}");
            assert_eq!(text.split_whitespace().count(), 20);
        }
    }

    #[test]
    fn on_a_narrow_terminal_the_widest_column_is_wrapped_at_blanks() {
        let mut table = Table::new(&["NAME", "N", "NOTE"]);
        table.row(["q35".into(), Cell::number(7), "a note of several words, wrapped".into()]);
        table.row(["pc".into(), Cell::number(10), "short".into()]);
        let wide = plain(&table.render_within(None));
        assert_eq!(wide.lines().count(), 3);
        assert_eq!(plain(&table.render_within(Some(42))), wide);
        let expected = "NAME   N  NOTE\n\
                        q35    7  a note of several\n          words, wrapped\n\
                        pc    10  short\n";
        assert_eq!(plain(&table.render_within(Some(29))), expected);
        // Columns keep a width that can be read.
        let narrowest = plain(&table.render_within(Some(1)));
        assert!(
            narrowest.contains("a note of\n          several words,\n          wrapped\n"),
            "{narrowest}"
        );
    }

    #[test]
    fn lines_break_at_blanks_and_within_long_words() {
        assert_eq!(lines("one two three", 8), ["one two", "three"]);
        assert_eq!(lines("one two three", 7), ["one two", "three"]);
        assert_eq!(lines("/a/very/long/path x", 6), ["/a/ver", "y/long", "/path", "x"]);
        assert_eq!(lines("äöü äöü", 3), ["äöü", "äöü"]);
        assert_eq!(lines("", 5), [""]);
    }

    #[test]
    fn numbers_in_names_are_sorted_as_numbers() {
        let mut names = ["pc-q35-2.10", "pc-q35-2.9", "pc", "pc-q35-11.0", "486"];
        names.sort_by_cached_key(|name| natural_key(name));
        assert_eq!(names, ["486", "pc", "pc-q35-2.9", "pc-q35-2.10", "pc-q35-11.0"]);
    }

    #[test]
    fn sizes_are_rounded_for_people() {
        assert_eq!(
            [size(0), size(9_999), size(312_345), size(1_449_999)],
            ["0 B", "9999 B", "312 KB", "1.4 MB"]
        );
    }
}

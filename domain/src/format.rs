//! Elements to text, formatted as `virsh dumpxml` does.

use crate::tree::{Element, Node};

/// Formats an element with two spaces for each level, single quotes, and a line feed at the end.
pub(crate) fn format(element: &Element) -> String {
    let mut out = String::new();
    write(element, 0, '\'', &mut out);
    out
}

fn write(element: &Element, level: usize, quote: char, out: &mut String) {
    indent(level, out);
    out.push('<');
    out.push_str(&element.name);
    for attribute in &element.attributes {
        out.push(' ');
        out.push_str(&attribute.name);
        out.push('=');
        out.push(quote);
        escape(&attribute.value, true, out);
        out.push(quote);
    }
    let has_text = element.children.iter().any(|n| matches!(n, Node::Text(t) if !t.is_empty()));
    let has_elements = element.children.iter().any(|n| matches!(n, Node::Element(_)));
    if !has_text && !has_elements {
        out.push_str("/>\n");
        return;
    }
    out.push('>');
    if has_elements {
        out.push('\n');
    }
    // libvirt leaves the content of `<metadata>` to a formatter with other quotes.
    let inner = if level == 1 && element.name == "metadata" { '"' } else { quote };
    for node in &element.children {
        match node {
            Node::Element(child) => write(child, level + 1, inner, out),
            Node::Text(text) if has_elements => {
                indent(level + 1, out);
                escape(text.trim(), false, out);
                out.push('\n');
            }
            Node::Text(text) => escape(text, false, out),
        }
    }
    if has_elements {
        indent(level, out);
    }
    out.push_str("</");
    out.push_str(&element.name);
    out.push_str(">\n");
}

fn indent(level: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", level));
}

/// Escapes what is markup, and in attributes the white space that a reader would turn into spaces.
fn escape(text: &str, in_attribute: bool, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&apos;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            '\n' if in_attribute => out.push_str("&#10;"),
            '\t' if in_attribute => out.push_str("&#9;"),
            c => out.push(c),
        }
    }
}

//! Elements of a document, with their positions.

use zeroize::Zeroize;

/// The attribute that has the password of a graphical console. Its value is overwritten when it is dropped or replaced.
pub(crate) const PASSWORD: &str = "passwd";

/// An element: name, attributes, children, and its position in the text that was read.
///
/// Comments and the white space between elements are not kept. Names keep their namespace prefix.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// The name, with its namespace prefix.
    pub name: String,
    /// The attributes in document order. No name occurs twice.
    pub attributes: Vec<Attribute>,
    /// Children and text in document order.
    pub children: Vec<Node>,
    /// The byte offset of the name in the text that was read; 0 for an element that was not read.
    pub offset: u32,
}

/// An attribute of an [`Element`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attribute {
    /// The name, with its namespace prefix.
    pub name: String,
    /// The value, without escapes.
    pub value: String,
    /// The byte offset of the name in the text that was read.
    pub offset: u32,
}

impl Attribute {
    /// Overwrites a password.
    fn wipe(&mut self) {
        if self.name == PASSWORD {
            self.value.zeroize();
        }
    }
}

impl Drop for Attribute {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// Content of an [`Element`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A child.
    Element(Element),
    /// Text without escapes, not only white space.
    Text(String),
}

impl Element {
    /// An element without a name.
    pub(crate) const fn empty() -> Element {
        Element { name: String::new(), attributes: Vec::new(), children: Vec::new(), offset: 0 }
    }

    /// Creates an empty element.
    pub fn new(name: impl Into<String>) -> Element {
        Element { name: name.into(), ..Element::default() }
    }

    /// Returns the value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|a| a.name == name).map(|a| a.value.as_str())
    }

    /// Sets an attribute: in its place if it is there, at the end otherwise.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        match self.attributes.iter_mut().find(|a| a.name == name) {
            Some(attribute) => {
                attribute.wipe();
                attribute.value = value.into();
            }
            None => self.attributes.push(Attribute {
                name: name.to_owned(),
                value: value.into(),
                offset: 0,
            }),
        }
    }

    /// Removes an attribute.
    pub fn unset(&mut self, name: &str) {
        self.attributes.retain(|a| a.name != name);
    }

    /// The child elements.
    pub fn elements(&self) -> impl Iterator<Item = &Element> {
        self.children.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// Returns the first child with this name.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.elements().find(|e| e.name == name)
    }

    /// Returns the first child with this name, for changes.
    pub fn child_mut(&mut self, name: &str) -> Option<&mut Element> {
        self.children.iter_mut().find_map(|node| match node {
            Node::Element(element) if element.name == name => Some(element),
            _ => None,
        })
    }

    /// Returns the first child with this name; adds it at the end if there is none.
    pub fn child_or_new(&mut self, name: &str) -> &mut Element {
        let at = self
            .children
            .iter()
            .position(|node| matches!(node, Node::Element(e) if e.name == name))
            .unwrap_or_else(|| {
                self.children.push(Node::Element(Element::new(name)));
                self.children.len() - 1
            });
        match &mut self.children[at] {
            Node::Element(element) => element,
            Node::Text(_) => unreachable!("the position is that of an element"),
        }
    }

    /// Removes all children with this name.
    pub fn remove_children(&mut self, name: &str) {
        self.children.retain(|node| !matches!(node, Node::Element(e) if e.name == name));
    }

    /// Takes over the offsets of an element that this one replaces, and those of its parts with the same names.
    pub(crate) fn keep_offsets(&mut self, old: &Element) {
        self.offset = old.offset;
        for attribute in &mut self.attributes {
            let same = old.attributes.iter().find(|other| other.name == attribute.name);
            attribute.offset = same.map_or(0, |other| other.offset);
        }
        for node in &mut self.children {
            if let Node::Element(child) = node
                && let Some(other) = old.child(&child.name)
            {
                child.keep_offsets(other);
            }
        }
    }

    /// Adds a child at the end.
    pub fn push(&mut self, child: Element) {
        self.children.push(Node::Element(child));
    }

    /// Returns the text directly in this element, without white space around it.
    pub fn text(&self) -> &str {
        self.children
            .iter()
            .find_map(|node| match node {
                Node::Text(text) => Some(text.trim()),
                Node::Element(_) => None,
            })
            .unwrap_or("")
    }

    /// Replaces the text directly in this element.
    pub fn set_text(&mut self, text: impl Into<String>) {
        self.children.retain(|node| matches!(node, Node::Element(_)));
        self.children.insert(0, Node::Text(text.into()));
    }
}

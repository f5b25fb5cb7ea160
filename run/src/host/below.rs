//! Images below others.

/// The header of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The image below.
    pub below: Below,
    /// True if the data are in another file, and the image holds only metadata.
    pub has_data_file: bool,
}

/// The image below another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Below {
    /// There is none.
    Nothing,
    /// An image in a file or device of the host.
    Image {
        /// The path.
        path: String,
        /// True for a block device.
        is_block: bool,
        /// The format, in libvirt's words.
        format: &'static str,
    },
}

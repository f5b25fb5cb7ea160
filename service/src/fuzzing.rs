//! Fuzz target `message`: any bytes of a peer are cut, parsed and refused within bounds, without a panic.

use capscache_libvirt::Release;

use crate::call::{Answer, MethodCall, Parsed, parse, refuse};
use crate::parameters;
use crate::transport::{Inbox, MAX_MESSAGE_BYTES};

/// Bytes of a refusal beside what it repeats of a message, and bytes that an escaped byte of it takes.
const FRAME: usize = 1024;
const ESCAPED: usize = 6;

/// Cuts received bytes into messages, and parses each.
pub fn received(data: &[u8]) {
    let mut inbox = Inbox::of(data);
    let mut taken = 0;
    while let Ok(Some(at)) = inbox.complete() {
        let message = inbox.message(at);
        taken += message.len() + 1;
        assert!(
            message.len() <= MAX_MESSAGE_BYTES && taken <= data.len(),
            "no byte is taken twice"
        );
        let most = FRAME + ESCAPED * message.len();
        if let Ok(text) = std::str::from_utf8(message) {
            // No parameter is repeated at length.
            let refusals = [
                parameters::path(text.to_owned()).err().map(|error| error.to_string()),
                parameters::query(text, || Ok(Release::default()))
                    .err()
                    .map(|error| error.to_string()),
            ];
            assert!(refusals.iter().flatten().all(|refusal| refusal.len() <= most));
        }
        let Ok((head, parsed)) = parse(message) else { return };
        match parsed {
            Parsed::Call(_) => {}
            Parsed::Bare(bare) => {
                // An unknown method is refused when it is called.
                let _ = serde_json::from_str::<zlink::Call<MethodCall<'_>>>(&bare);
            }
            Parsed::Refused(error) => match refuse(&head, &error) {
                Ok(Answer::One(refusal)) => assert!(refusal.bytes.len() <= most),
                Ok(Answer::Nothing) => {}
                _ => panic!("a refusal is one message, or none"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::path::Path;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn any_bytes_can_come_from_a_peer() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/message.tar.gz");
        let mut archive = tar::Archive::new(GzDecoder::new(File::open(corpus).unwrap()));
        let mut count = 0;
        for entry in archive.entries().unwrap() {
            let (mut entry, mut input) = (entry.unwrap(), Vec::new());
            entry.read_to_end(&mut input).unwrap();
            received(&input);
            count += usize::from(entry.header().entry_type().is_file());
        }
        assert!(count > 50, "{count}");
    }
}

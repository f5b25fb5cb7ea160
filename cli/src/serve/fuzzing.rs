//! What must hold for whatever a peer sends: it is cut, parsed and refused in bounds, and nothing panics.

use super::call::{Answer, MethodCall, Parsed, parse, refuse};
use super::peer;
use super::wire::{Inbox, LONGEST_MESSAGE};

/// What a refusal may have beside what it repeats of a message, each byte of which may be escaped.
const FRAME: usize = 1024;
const ESCAPED: usize = 6;

/// Cuts what was received into messages, and understands each.
pub fn received(data: &[u8]) {
    let mut inbox = Inbox::of(data);
    let mut taken = 0;
    while let Ok(Some(at)) = inbox.complete() {
        let message = inbox.message(at);
        taken += message.len() + 1;
        assert!(message.len() <= LONGEST_MESSAGE && taken <= data.len(), "no byte is taken twice");
        let most = FRAME + ESCAPED * message.len();
        if let Ok(text) = std::str::from_utf8(message) {
            // What parameters hold: none of it is repeated at length.
            let refusals = [
                peer::path(text.to_owned()).err().map(|error| error.to_string()),
                peer::parse(text).err().map(|error| error.to_string()),
            ];
            assert!(refusals.iter().flatten().all(|refusal| refusal.len() <= most));
        }
        let Ok((head, parsed)) = parse(message) else { return };
        match parsed {
            Parsed::Call(_) => {}
            Parsed::Bare(bare) => {
                // One that is not known is refused when it is called.
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

//! A map image that was made up: the bytes get a header and their digest, so that what is behind it is
//! read.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = npc_image::read(bytes);
    let mut file = b"\x89NPMAP\r\n\x01\0\0\0\x07\0\0\0".to_vec();
    file.extend_from_slice(&(bytes.len() as u64 + 56).to_le_bytes());
    file.extend_from_slice(&[0; 32]);
    file.extend_from_slice(bytes);
    let digest = npc_image::digest(&file);
    file[24..56].copy_from_slice(&digest);
    if let Ok(image) = npc_image::read(&file) {
        // What is taken is an image like any other.
        assert_eq!(npc_image::read(&npc_image::write(&image)).as_ref(), Ok(&image));
    }
});

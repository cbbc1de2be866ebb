// SPDX-License-Identifier: GPL-2.0

//! Tests of the control queue's structures, byte by byte, and of its responses.

#[cfg_attr(CONFIG_KUNIT, kernel::prelude::kunit_tests(virtgpu_gpu))]
mod gpu {
    use core::mem::size_of;

    use zerocopy::{
        FromBytes,
        IntoBytes, //
    };

    use super::super::device::{
        Act,
        Memory,
        QUEUE_SIZE, //
    };
    use crate::{
        gpu::{
            control::ErrorResponse,
            protocol::{
                Command,
                DisplayInfo,
                DisplayOne,
                Edid,
                GetDisplayInfo,
                GetEdid,
                Header,
                MemEntry,
                Mode,
                ResourceAttachBacking,
                ResourceCreate2d,
                ResourceDetachBacking,
                ResourceFlush,
                SetScanout,
                TransferToHost2d, //
            },
            Control,
            GpuError,
            Rect, //
        },
        virtio::{
            queue::QueueError,
            Features,
            VirtQueue, //
        }, //
    };

    /// Returns whether a command is its type, 20 bytes of zeroes (no fence, no context) and `rest`.
    fn is(command: &impl Command, kind: u32, rest: &[u32]) -> bool {
        let bytes = command.as_bytes();
        let words = bytes.chunks_exact(4).map(|word| match word {
            &[a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
            _ => u32::MAX,
        });
        bytes.len() == 24 + 4 * rest.len()
            && words.eq([kind, 0, 0, 0, 0, 0]
                .into_iter()
                .chain(rest.iter().copied()))
    }

    #[test]
    fn sizes_are_those_of_the_specification() {
        assert_eq!(size_of::<Header>(), 24);
        assert_eq!(size_of::<Rect>(), 16);
        assert_eq!(size_of::<GetDisplayInfo>(), 24);
        assert_eq!(size_of::<ResourceCreate2d>(), 40);
        assert_eq!(size_of::<SetScanout>(), 48);
        assert_eq!(size_of::<ResourceFlush>(), 48);
        assert_eq!(size_of::<TransferToHost2d>(), 56);
        assert_eq!(size_of::<ResourceAttachBacking>(), 32);
        assert_eq!(size_of::<ResourceDetachBacking>(), 32);
        assert_eq!(size_of::<MemEntry>(), 16);
        assert_eq!(size_of::<DisplayOne>(), 24);
        assert_eq!(size_of::<DisplayInfo>(), 24 + 16 * 24);
        assert_eq!(size_of::<GetEdid>(), 32);
        assert_eq!(size_of::<Edid>(), 24 + 8 + 1024);
    }

    #[test]
    fn commands_are_laid_out_as_in_section_5_7_6() {
        let rect = Rect::new(0x11, 0x22, 0x33, 0x44);
        assert!(is(&GetDisplayInfo::new(), 0x100, &[]));
        // resource_id, format (B8G8R8X8), width, height
        assert!(is(
            &ResourceCreate2d::new(7, 0x500, 0x640),
            0x101,
            &[7, 2, 0x500, 0x640]
        ));
        // r, scanout_id, resource_id
        assert!(is(
            &SetScanout::new(rect, 3, 7),
            0x103,
            &[0x11, 0x22, 0x33, 0x44, 3, 7]
        ));
        // r, resource_id, padding
        assert!(is(
            &ResourceFlush::new(rect, 7),
            0x104,
            &[0x11, 0x22, 0x33, 0x44, 7, 0]
        ));
        // r, offset, resource_id, padding
        assert!(is(
            &TransferToHost2d::new(rect, 0x5566_7788_99aa_bbcc, 7),
            0x105,
            &[0x11, 0x22, 0x33, 0x44, 0x99aa_bbcc, 0x5566_7788, 7, 0]
        ));
        // resource_id, nr_entries
        assert!(is(&ResourceAttachBacking::new(7, 404), 0x106, &[7, 404]));
        // resource_id, padding
        assert!(is(&ResourceDetachBacking::new(7), 0x107, &[7, 0]));
        // scanout, padding
        assert!(is(&GetEdid::new(3), 0x10a, &[3, 0]));
        // addr, length, padding
        let entry = MemEntry::new(0x1_2345_6789, 0x14000);
        assert_eq!(
            *entry.as_bytes(),
            [0x89, 0x67, 0x45, 0x23, 1, 0, 0, 0, 0, 0x40, 1, 0, 0, 0, 0, 0]
        );
    }

    /// Returns a response to GET_DISPLAY_INFO with one scanout changed: x, y, width, height,
    /// enabled, flags.
    fn display_info(scanout: usize, words: [u32; 6]) -> [u8; 408] {
        let mut bytes = [0; 408];
        let fields = bytes.chunks_exact_mut(4).skip(6 + 6 * scanout);
        for (field, word) in fields.zip(words) {
            field.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn mode(bytes: &[u8]) -> Option<Mode> {
        DisplayInfo::read_from_bytes(bytes).ok()?.enabled().next()
    }

    #[test]
    fn the_first_enabled_scanout_gives_the_mode() {
        let full_hd = |scanout| {
            Some(Mode {
                scanout,
                width: 1920,
                height: 1080,
            })
        };
        assert_eq!(mode(&display_info(0, [0, 0, 1920, 1080, 1, 0])), full_hd(0));
        assert_eq!(
            mode(&display_info(15, [10, 20, 1920, 1080, 1, 0])),
            full_hd(15)
        );
        assert_eq!(
            mode(&display_info(3, [0, 0, 1920, 1080, 0x8000_0000, 0])),
            full_hd(3)
        );
        assert_eq!(mode(&display_info(0, [0, 0, 1920, 1080, 0, 1])), None);
        assert_eq!(mode(&display_info(0, [0, 0, 0, 1080, 1, 0])), None);
        assert_eq!(mode(&display_info(0, [0, 0, 1920, 0, 1, 0])), None);
        assert_eq!(mode(&[0; 408]), None);
        // Of two enabled scanouts, the first.
        let mut two = display_info(1, [0, 0, 1920, 1080, 1, 0]);
        two[24 + 24 * 2..24 + 24 * 3].copy_from_slice(&[1; 24]);
        assert_eq!(mode(&two), full_hd(1));
        let info = DisplayInfo::read_from_bytes(&two[..]);
        let scanouts = |info: DisplayInfo| info.enabled().map(|mode| mode.scanout).eq([1, 2]);
        assert!(info.is_ok_and(scanouts));
    }

    fn control(memory: &'static Memory, act: Act) -> Control<(&'static Memory, Act)> {
        Control::new(VirtQueue::new(
            (memory, act),
            QUEUE_SIZE,
            Features::VERSION_1,
        ))
    }

    #[test]
    fn a_call_returns_the_expected_response() {
        static MEMORY: Memory = Memory::new();
        let mut control = control(&MEMORY, |memory| memory.answer(0x1100));
        assert!(control
            .call(&ResourceAttachBacking::new(7, 0), None)
            .is_ok());
        // OK_NODATA is no display info.
        let error = control.call(&GetDisplayInfo::new(), None).err();
        let refusal = ErrorResponse {
            command: 0x100,
            response: 0x1100,
        };
        assert_eq!(error, Some(GpuError::Response(refusal)));
        assert_eq!(control.errors(), (0, None));
    }

    #[test]
    fn a_call_fails_with_the_response_type_of_the_device() {
        static MEMORY: Memory = Memory::new();
        let mut control = control(&MEMORY, |memory| memory.answer(0x1203));
        let error = control.call(&ResourceAttachBacking::new(7, 0), None).err();
        let refusal = ErrorResponse {
            command: 0x106,
            response: 0x1203,
        };
        assert_eq!(error, Some(GpuError::Response(refusal)));
    }

    #[test]
    fn an_empty_response_is_an_error() {
        static MEMORY: Memory = Memory::new();
        // One valid response, and then an empty one.
        let used_without_a_word: Act = |memory| {
            let index = memory.used();
            if index == 0 {
                memory.answer(0x1101);
            } else if index != memory.available() {
                memory.set_used_entry(index, memory.head(index).into(), 0);
                memory.set_used(index.wrapping_add(1));
            }
        };
        let mut control = control(&MEMORY, used_without_a_word);
        assert!(control.call(&GetDisplayInfo::new(), None).is_ok());
        let error = control.call(&GetDisplayInfo::new(), None).err();
        let refusal = ErrorResponse {
            command: 0x100,
            response: 0,
        };
        assert_eq!(error, Some(GpuError::Response(refusal)));
    }

    #[test]
    fn rejected_commands_are_counted_and_the_first_is_stored() {
        static MEMORY: Memory = Memory::new();
        let mut control = control(&MEMORY, |memory| memory.answer(0x1200));
        let rect = Rect::new(0, 0, 16, 16);
        let bits = [
            control.add(&SetScanout::new(rect, 0, 7)),
            control.add(&ResourceFlush::new(rect, 7)),
        ];
        assert_eq!(bits, [Ok(1), Ok(2)]);
        assert_eq!(control.wait(1), Ok(()));
        assert_eq!(control.wait(3), Ok(()));
        let first = ErrorResponse {
            command: 0x103,
            response: 0x1200,
        };
        assert_eq!(control.errors(), (2, Some(first)));
    }

    #[test]
    fn a_device_that_stopped_is_reported_once() {
        static MEMORY: Memory = Memory::new();
        let mut control = control(&MEMORY, |_| ());
        let stalled = GpuError::Queue(QueueError::Stalled);
        assert_eq!(
            control.call(&GetDisplayInfo::new(), None).err(),
            Some(stalled)
        );
        let kicks = MEMORY.kicks();
        assert_eq!(control.add(&ResourceAttachBacking::new(7, 0)), Err(stalled));
        control.kick();
        assert_eq!(MEMORY.kicks(), kicks);
    }
}

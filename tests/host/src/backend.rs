// SPDX-License-Identifier: GPL-2.0

//! The device side of a split virtqueue, on rust-vmm's `virtio-queue`.
//!
//! The device only runs after an available buffer notification, so that a driver that omits a
//! notification waits in vain.

use std::{
    cell::RefCell,
    io::Read,
    io::Write,
    rc::Rc, //
};

use virtio_queue::{
    Queue,
    QueueT, //
};

use crate::{
    guest::{
        Device,
        Guest,
        Memory, //
    },
    virtio::{
        Features,
        QueueAddresses,
        VirtQueue, //
    }, //
};

/// Executes the commands of a queue.
pub(crate) trait Backend {
    /// Executes the command and returns its response.
    fn execute(&mut self, memory: &Memory, request: &[u8]) -> Vec<u8>;
}

/// The order in which the device answers commands that are available at the same time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// In the order of the available ring.
    First,
    /// In the reverse order.
    Last,
}

/// Returns the device side of the queue at `addresses`.
pub(crate) fn queue_at(addresses: &QueueAddresses, features: Features) -> Queue {
    let mut queue = Queue::new(256).unwrap();
    let halves = |address: u64| (Some(address as u32), Some((address >> 32) as u32));
    let (low, high) = halves(addresses.descriptors);
    queue.set_desc_table_address(low, high);
    let (low, high) = halves(addresses.available);
    queue.set_avail_ring_address(low, high);
    let (low, high) = halves(addresses.used);
    queue.set_used_ring_address(low, high);
    queue.set_size(addresses.size);
    queue.set_event_idx(features.contains(Features::EVENT_IDX));
    queue.set_ready(true);
    queue
}

/// A device with one queue.
pub(crate) struct QueueDevice<B> {
    queue: Queue,
    order: Order,
    backend: Rc<RefCell<B>>,
}

impl<B: Backend> QueueDevice<B> {
    /// Returns a device whose queue is at `addresses`.
    pub(crate) fn new(
        addresses: &QueueAddresses,
        features: Features,
        order: Order,
        backend: Rc<RefCell<B>>,
    ) -> Self {
        Self {
            queue: queue_at(addresses, features),
            order,
            backend,
        }
    }
}

impl<B: Backend> Device for QueueDevice<B> {
    fn run(&mut self, memory: &Memory, kicked: bool) {
        if !kicked {
            return;
        }
        assert!(self.queue.is_valid(memory));
        loop {
            self.queue.disable_notification(memory).unwrap();
            let mut chains = Vec::new();
            while let Some(chain) = self.queue.pop_descriptor_chain(memory) {
                chains.push(chain);
            }
            if let Order::Last = self.order {
                chains.reverse();
            }
            for chain in chains {
                let mut request = Vec::new();
                let mut reader = chain.clone().reader(memory).unwrap();
                reader.read_to_end(&mut request).unwrap();
                let response = self.backend.borrow_mut().execute(memory, &request);
                let mut writer = chain.clone().writer(memory).unwrap();
                let length = response.len().min(writer.available_bytes());
                writer.write_all(&response[..length]).unwrap();
                let length = length.try_into().unwrap();
                self.queue
                    .add_used(memory, chain.head_index(), length)
                    .unwrap();
            }
            if !self.queue.enable_notification(memory).unwrap() {
                return;
            }
        }
    }
}

/// Makes a queue of at most `size_max` descriptors at the start of the guest's memory, with a
/// [`QueueDevice`] as its device.
pub(crate) fn connect<B: Backend + 'static>(
    guest: &Guest,
    size_max: u16,
    features: Features,
    order: Order,
    backend: B,
) -> (VirtQueue<Guest>, Rc<RefCell<B>>) {
    let backend = Rc::new(RefCell::new(backend));
    let queue = connect_to(guest, size_max, features, order, &backend);
    (queue, backend)
}

/// Makes the same queue for a backend that exists already.
pub(crate) fn connect_to<B: Backend + 'static>(
    guest: &Guest,
    size_max: u16,
    features: Features,
    order: Order,
    backend: &Rc<RefCell<B>>,
) -> VirtQueue<Guest> {
    let addresses = VirtQueue::addresses(guest, size_max).unwrap();
    guest.plug(QueueDevice::new(
        &addresses,
        features,
        order,
        backend.clone(),
    ));
    VirtQueue::new(guest.clone(), addresses.size, features)
}

// The parts of XNU's headers that the probe reads, for type-checking and tests on Linux. Names, types,
// order and packing are those of mach/task_info.h, mach/mach_init.h and sys/sysctl.h.

#pragma once
#include <stddef.h>
#include <stdint.h>

typedef int kern_return_t;
typedef int integer_t;
typedef unsigned int natural_t;
typedef natural_t mach_msg_type_number_t;
typedef natural_t mach_port_t;
typedef natural_t task_flavor_t;
typedef integer_t *task_info_t;
typedef uint64_t mach_vm_size_t;
typedef uint64_t mach_vm_address_t;

#define KERN_SUCCESS 0
#define TASK_VM_INFO 22

#pragma pack(push, 4)
struct task_vm_info {
    mach_vm_size_t virtual_size;
    integer_t region_count;
    integer_t page_size;
    mach_vm_size_t resident_size;
    mach_vm_size_t resident_size_peak;
    mach_vm_size_t device;
    mach_vm_size_t device_peak;
    mach_vm_size_t internal;
    mach_vm_size_t internal_peak;
    mach_vm_size_t external;
    mach_vm_size_t external_peak;
    mach_vm_size_t reusable;
    mach_vm_size_t reusable_peak;
    mach_vm_size_t purgeable_volatile_pmap;
    mach_vm_size_t purgeable_volatile_resident;
    mach_vm_size_t purgeable_volatile_virtual;
    mach_vm_size_t compressed;
    mach_vm_size_t compressed_peak;
    mach_vm_size_t compressed_lifetime;
    // revision 1
    mach_vm_size_t phys_footprint;
    // revision 2
    mach_vm_address_t min_address;
    mach_vm_address_t max_address;
    // revision 3
    int64_t ledger_phys_footprint_peak;
    int64_t ledger_purgeable_nonvolatile;
    int64_t ledger_purgeable_novolatile_compressed;
    int64_t ledger_purgeable_volatile;
    int64_t ledger_purgeable_volatile_compressed;
    int64_t ledger_tag_network_nonvolatile;
    int64_t ledger_tag_network_nonvolatile_compressed;
    int64_t ledger_tag_network_volatile;
    int64_t ledger_tag_network_volatile_compressed;
    int64_t ledger_tag_media_footprint;
    int64_t ledger_tag_media_footprint_compressed;
    int64_t ledger_tag_media_nofootprint;
    int64_t ledger_tag_media_nofootprint_compressed;
    int64_t ledger_tag_graphics_footprint;
    int64_t ledger_tag_graphics_footprint_compressed;
    int64_t ledger_tag_graphics_nofootprint;
    int64_t ledger_tag_graphics_nofootprint_compressed;
    int64_t ledger_tag_neural_footprint;
    int64_t ledger_tag_neural_footprint_compressed;
    int64_t ledger_tag_neural_nofootprint;
    int64_t ledger_tag_neural_nofootprint_compressed;
    // revision 4
    uint64_t limit_bytes_remaining;
    // revision 5
    integer_t decompressions;
    // revision 6
    int64_t ledger_swapins;
    // revision 7, iOS 26
    int64_t ledger_tag_neural_nofootprint_total;
    int64_t ledger_tag_neural_nofootprint_peak;
};
#pragma pack(pop)
typedef struct task_vm_info task_vm_info_data_t;

// mach/mach_init.h: a variable, which is what Swift 6 minds.
extern mach_port_t mach_task_self_;

kern_return_t task_info(
    mach_port_t task, task_flavor_t flavor, task_info_t info, mach_msg_type_number_t *count);

int sysctlbyname(const char *name, void *old, size_t *old_bytes, void *new, size_t new_bytes);

// Not of XNU: how many bytes of the structure this kernel fills. Word n of it is n.
void stub_kernel_fills(size_t bytes);

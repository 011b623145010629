#include "CDarwin.h"
#include <string.h>

mach_port_t mach_task_self_ = 7;
static size_t filled_bytes = sizeof(task_vm_info_data_t);

void stub_kernel_fills(size_t bytes) { filled_bytes = bytes; }

kern_return_t task_info(
    mach_port_t task, task_flavor_t flavor, task_info_t info, mach_msg_type_number_t *count) {
    if (task != mach_task_self_ || flavor != TASK_VM_INFO) return 4;
    size_t words = filled_bytes / sizeof(natural_t);
    if (words > *count) words = *count;
    for (size_t at = 0; at < words; at++) info[at] = (integer_t)at;
    *count = (mach_msg_type_number_t)words;
    return KERN_SUCCESS;
}

int sysctlbyname(const char *name, void *old, size_t *old_bytes, void *new, size_t new_bytes) {
    static const char answer[] = "stub";
    if (new || new_bytes || *old_bytes < sizeof answer) return -1;
    memcpy(old, answer, sizeof answer);
    *old_bytes = sizeof answer;
    return 0;
}

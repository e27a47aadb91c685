/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What BCC's own headers ask of a kernel configuration. */
#pragma once
#define CONFIG_BPF_SYSCALL 1
#define CONFIG_64BIT 1

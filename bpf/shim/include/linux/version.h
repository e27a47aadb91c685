/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* BCC compares LINUX_VERSION_CODE; nothing here depends on it. */
#pragma once
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 15, 0)

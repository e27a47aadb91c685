/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* BCC's helpers include this header and use nothing of it here. */
#pragma once

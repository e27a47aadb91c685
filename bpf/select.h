/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Which packets a policy looks at, asked once for each skb before anything of it is parsed. The rest is counted
 * in the ledger as filtered, and costs no more.
 */
#pragma once

static __always_inline bool selected(struct __sk_buff *skb)
{
	return true;
}

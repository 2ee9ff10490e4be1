/* SPDX-License-Identifier: GPL-2.0 */
/* mmap(): a program is given its circuit's memory. See mmap.c. */
#ifndef CSVN_MODULE_MMAP_H
#define CSVN_MODULE_MMAP_H

#include "csvn.h"

int csvn_map(struct csvn_sock *cs, void __user *arg);
int csvn_kick(struct csvn_sock *cs);
int csvn_mmap(struct file *file, struct socket *sock, struct vm_area_struct *vma);

#endif
